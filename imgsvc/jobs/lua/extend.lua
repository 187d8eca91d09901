-- Says that an upload is still being received.
-- Guarantees: the sweeper leaves it alone for another `ttl_ms`. Changes nothing of an upload that is no longer
-- reserved.
-- ARGV: id, ttl_ms
local id, ttl_ms = ARGV[1], tonumber(ARGV[2])
if status_of(id) == 'RESERVED' then redis.call('ZADD', SWEEP, now_ms() + ttl_ms, id) end
return redis.status_reply('OK')
