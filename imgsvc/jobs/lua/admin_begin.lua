-- Begins a bulk action: what it does to all uploads that match is done by workers.
-- Guarantees: no more than `most` are under way. Those that have ended are kept for a while, the newest MOST_KEPT. Safe
-- to repeat.
-- Returns 1, or 0 if too many are under way.
-- ARGV: id, most, then the fields and values of its hash
local id, most = ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', bulk(id)) == 1 then return 1 end
if redis.call('ZCARD', BULK) >= most then return 0 end
local now = now_ms()
redis.call('HSET', bulk(id), 'state', 'RUNNING', 'created_at', now, unpack(ARGV, 3))
redis.call('ZADD', BULK, now, id)
redis.call('ZADD', BULKS, now, id)
for _, old in ipairs(redis.call('ZRANGE', BULKS, 0, -MOST_KEPT - 1)) do
  if not redis.call('ZSCORE', BULK, old) then
    redis.call('ZREM', BULKS, old)
    redis.call('DEL', bulk(old))
  end
end
return 1
