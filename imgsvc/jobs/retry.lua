-- Queues a job once more that has ended in FAILURE or was cancelled.
-- Guarantees: it starts with all its deliveries, and its webhook is told of the new end alone. None is queued of
-- which the sweeper is just clearing something, or whose time is up.
-- Returns 1, 0 where the job is in no state for it, -1 where the owner has no such upload.
-- ARGV: id, owner, job body
local id, owner, body = ARGV[1], ARGV[2], ARGV[3]
local status, sweeping, expires_at = unpack(redis.call('HMGET', record(id), 'status', 'sweeping', 'expires_at'))
if not is_visible(status) or belongs_to(id) ~= owner then return -1 end
if status ~= 'FAILURE' and status ~= 'CANCELLED' then return 0 end
if sweeping or tonumber(expires_at or math.huge) <= now_ms() then return 0 end
redis.call('HSET', record(id), 'progress', 0)
redis.call('HDEL', record(id), 'failure', 'started_at', 'finished_at')
move(id, 'PENDING')
unannounce(id)
redis.call('PERSIST', record(id))
enqueue(id, body)
return 1
