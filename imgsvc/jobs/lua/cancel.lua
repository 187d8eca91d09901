-- Cancels an upload's job, or its newest derivation, for its client.
-- Guarantees: the worker that runs it is notified, and can no longer finish it. Its files are swept: those of a job by
-- the caller or, if that process dies, by the sweeper, and the job is not run again before; those of a derivation by
-- the sweeper alone, since all others of the upload stay.
-- Returns 1 for a job, 2 for a derivation, 0 if all has ended already, -1 if the owner has no such upload.
-- ARGV: id, owner, record_ttl_s
local id, owner = ARGV[1], ARGV[2]
if not is_seen_by(id, owner) then return -1 end
if has_ended(id) then return 0 end
return cancel_and_sweep(id, ARGV[3]) == DERIVED and 2 or 1
