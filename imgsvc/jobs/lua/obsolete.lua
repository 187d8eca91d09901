-- Claims files that are to be removed from uploads that stay: those that were replaced, and those that no record has.
-- Guarantees: no name that a client was given is claimed before its time. What is not acknowledged within `hold_ms` is
-- claimed again; until then no other sweeper gets it.
-- Returns members of OBSOLETE.
-- ARGV: hold_ms, limit
local now = now_ms()
local found = redis.call('ZRANGEBYSCORE', OBSOLETE, '-inf', now, 'LIMIT', 0, ARGV[2])
for _, member in ipairs(found) do redis.call('ZADD', OBSOLETE, now + ARGV[1], member) end
return found
