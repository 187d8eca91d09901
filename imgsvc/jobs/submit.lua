-- Turns a reservation into a queued job.
-- Guarantees: record, job body and queue entry are written together or not at all, so that an upload answered
-- with 202 has its job. Safe to repeat: a second call finds the first one's work and changes nothing.
-- Returns 1, or 0 where the reservation is gone (given up, or lost with Redis itself).
-- ARGV: id, job body, then the record's fields and values
local id, body = ARGV[1], ARGV[2]
local status = redis.call('HGET', record(id), 'status')
if not status or status == 'ABANDONED' then return 0 end
if status ~= 'RESERVED' then return 1 end
local now = now_ms()
redis.call('HSET', record(id), 'status', 'PENDING', 'created_at', now, unpack(ARGV, 3))
redis.call('ZREM', RESERVED, id)
redis.call('SET', 'arq:job:' .. id, body)
redis.call('ZADD', QUEUE, now, id)
redis.call('PUBLISH', DOORBELL, '')
return 1
