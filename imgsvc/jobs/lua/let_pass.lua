-- Queues a job again that is held back; the gate is not asked about it any more.
-- Guarantees: it is queued once, however often it is released at the same time.
-- Returns 1, 0 if it is not held back, -1 if the owner has no such upload.
-- ARGV: id, owner, request_id
local id, owner, request_id = ARGV[1], ARGV[2], ARGV[3]
if not is_seen_by(id, owner) then return -1 end
if redis.call('HGET', record(id), 'gate') ~= 'held' or has_ended(id) then return 0 end
redis.call('HSET', record(id), 'gate', 'passed', 'request_id', request_id)
redis.call('HDEL', record(id), 'step')
enqueue(id)
notify(id)
return 1
