-- Queues again what has failed or was cancelled: an upload's job, or its newest derivation.
-- Guarantees: it starts with all its deliveries, and its webhook gets the new end alone. No job is queued while the
-- sweeper removes its files, or after its upload has expired. The limits are those of an upload of these bytes, and
-- nothing changes if they are exceeded.
-- Returns {outcome}: CONFLICT if the job's state does not allow it; UNKNOWN if the owner has no such upload. Or
-- {outcome, ms to wait, what the limits leave (with_rest)}: RESERVED if it is queued; OVERLOADED, if `max_queued` jobs
-- wait already; RATE_LIMITED, QUOTA_EXCEEDED.
-- ARGV: id, owner, request_id, max_queued, uploads a minute or 0, bytes a day or 0, bytes to count for an original that
-- has not been fetched yet
local id, owner, request_id, max_queued, per_minute = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local per_day, unknown_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])
if not is_seen_by(id, owner) then return {'UNKNOWN'} end
return run_again(id, request_id, max_queued, per_minute, per_day, unknown_bytes)
