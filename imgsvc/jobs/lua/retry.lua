-- Queues a job again that has failed or was cancelled.
-- Guarantees: it starts with all its deliveries, and its webhook gets the new end alone. No job is queued while the
-- sweeper removes its files, or after its upload has expired. The limits are those of an upload of these bytes, and
-- nothing changes if they are exceeded.
-- Returns {outcome}: RESERVED if it is queued; CONFLICT if the job's state does not allow it; UNKNOWN if the owner has
-- no such upload; OVERLOADED, if `max_queued` jobs wait already. Or {outcome, ms to wait}: RATE_LIMITED,
-- QUOTA_EXCEEDED.
-- ARGV: id, owner, request_id, max_queued, uploads a minute or 0, bytes a day or 0, bytes to count for an original that
-- has not been fetched yet
local id, owner, max_queued, per_minute = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local per_day, unknown_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])
local fields = redis.call('HMGET', record(id), 'status', 'sweeping', 'expires_at', 'source')
local status, sweeping, expires_at, source = unpack(fields)
if not is_visible(status) or owner_of(id) ~= owner then return {'UNKNOWN'} end
if not RETRYABLE[status] then return {'CONFLICT'} end
if sweeping or tonumber(expires_at or math.huge) <= now_ms() then return {'CONFLICT'} end
local wait_ms = take_turn(owner, per_minute)
if wait_ms > 0 then return {'RATE_LIMITED', wait_ms} end
if queued() >= max_queued then return {'OVERLOADED'} end
local bytes = source and tonumber(source:match('^%[(%d+)')) or unknown_bytes
wait_ms = take_bytes(id, owner, bytes, per_day)
if wait_ms > 0 then return {'QUOTA_EXCEEDED', wait_ms} end
redis.call('HSET', record(id), 'progress', 0, 'request_id', ARGV[3])
redis.call('HDEL', record(id), 'failure', 'started_at', 'finished_at')
move(id, 'PENDING')
drop_webhook(id)
redis.call('PERSIST', record(id))
enqueue(id)
return {'RESERVED'}
