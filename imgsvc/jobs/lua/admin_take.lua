-- Gives a bulk action that is under way to a worker.
-- Guarantees: until `hold_ms` have passed without a step of it, no other worker gets it. That of a worker that died
-- goes on where it stood.
-- Returns {id, {field, value, …}}, or nothing.
-- ARGV: holder, hold_ms
local now = now_ms()
local id = unpack(redis.call('ZRANGEBYSCORE', BULK, '-inf', now, 'LIMIT', 0, 1))
if not id then return nil end
redis.call('ZADD', BULK, now + ARGV[2], id)
redis.call('HSET', bulk(id), 'holder', ARGV[1])
return {id, redis.call('HGETALL', bulk(id))}
