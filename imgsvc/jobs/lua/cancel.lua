-- Ends a job because its client wants it no more.
-- Guarantees: whoever works on it is told, and can no longer finish it. Its files are swept, by the caller or,
-- should that die, by the sweeper; until then it is not run again.
-- Returns 1, 0 where the job has ended already, -1 where the owner has no such upload.
-- ARGV: id, owner, record_ttl_s
local id, owner = ARGV[1], ARGV[2]
local status = status_of(id)
if not is_visible(status) or owner_of(id) ~= owner then return -1 end
if is_terminal(status) then return 0 end
cancel(id, ARGV[3])
redis.call('HSET', record(id), 'sweeping', 1)
sweep_at(id, now_ms() + FIRST_LOOK_MS)
return 1
