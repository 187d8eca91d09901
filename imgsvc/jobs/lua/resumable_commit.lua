-- Records what of an upload has become durable since.
-- Guarantees: only the holder of the newest fence changes anything, so that offset, parts and tail always agree. Safe
-- to repeat.
-- Returns 1, or 0 if another caller has the newest fence, or the upload is gone.
-- ARGV: id, fence, offset, tail, parts to be added, 1 if all of it is there, 1 if the caller adds no more, then fields
-- and values
local id, fence, offset, tail, parts = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local is_complete, is_last = ARGV[6] == '1', ARGV[7] == '1'
local kept = transfer(id)
local newest, at, before, complete, owner =
  unpack(redis.call('HMGET', kept, 'fence', 'offset', 'parts', 'complete', 'owner'))
if status_of(id) ~= 'RESERVED' or newest ~= fence then return 0 end
-- parts add bytes, but for a last one that was the tail
local is_repeated = complete or tonumber(at) == tonumber(offset) and not is_complete
if parts ~= '' and not is_repeated then
  redis.call('HSET', kept, 'parts', before and before .. ' ' .. parts or parts)
end
redis.call('HSET', kept, 'offset', offset, 'tail', tail, unpack(ARGV, 8))
if is_last then redis.call('HDEL', kept, 'writer', 'closing') end
if is_complete then
  redis.call('HSET', kept, 'complete', 1)
  redis.call('ZREM', receiving(owner), id)
end
return 1
