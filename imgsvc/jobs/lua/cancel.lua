-- Cancels a job for its client.
-- Guarantees: the worker that runs it is notified, and can no longer finish it. Its files are swept, by the caller or,
-- if that process dies, by the sweeper; the job is not run again before.
-- Returns 1, 0 if the job has ended already, -1 if the owner has no such upload.
-- ARGV: id, owner, record_ttl_s
local id, owner = ARGV[1], ARGV[2]
local status = status_of(id)
if not is_visible(status) or owner_of(id) ~= owner then return -1 end
if is_terminal(status) then return 0 end
cancel(id, ARGV[3])
redis.call('HSET', record(id), 'sweeping', 1)
sweep_at(id, now_ms() + FIRST_LOOK_MS)
return 1
