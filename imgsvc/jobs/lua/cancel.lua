-- Cancels an upload's job, or its newest derivation, for its client.
-- Guarantees: the worker that runs it is notified, and can no longer finish it. Its files are swept: those of a job by
-- the caller or, if that process dies, by the sweeper, and the job is not run again before; those of a derivation by
-- the sweeper alone, since all others of the upload stay.
-- Returns 1 for a job, 2 for a derivation, 0 if all has ended already, -1 if the owner has no such upload.
-- ARGV: id, owner, record_ttl_s
local id, owner = ARGV[1], ARGV[2]
if not is_visible(status_of(id)) or not is_of(id, owner) then return -1 end
if has_ended(id) then return 0 end
if cancel(id, ARGV[3]) == DERIVED then return 2 end
redis.call('HSET', record(id), 'sweeping', 1)
sweep_at(id, now_ms() + FIRST_LOOK_MS)
return 1
