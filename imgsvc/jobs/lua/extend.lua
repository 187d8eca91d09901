-- Extends the reservation of an upload whose body is still being received.
-- Guarantees: the sweeper leaves the upload alone for another `ttl_ms`. Changes nothing unless it is reserved, by this
-- try.
-- ARGV: id, ttl_ms, the key of this try or ''
local id, ttl_ms = ARGV[1], tonumber(ARGV[2])
if status_of(id) == 'RESERVED' and is_newest_try(id, ARGV[3]) then redis.call('ZADD', SWEEP, now_ms() + ttl_ms, id) end
return redis.status_reply('OK')
