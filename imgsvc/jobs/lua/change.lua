-- Changes options of an upload of which nothing has to be made for that: its job has not begun, or has made nothing.
-- Guarantees: no job that runs sees the options change. Of two changes, the second one knows of the first.
-- Returns RESERVED if they are changed; CONFLICT while a job runs; UNKNOWN if the owner has no such upload; CHANGED if
-- the upload is no longer what its caller has seen.
-- ARGV: id, owner, what the caller has seen (version_of), the options that differ from those that the upload came with
-- (JSON)
local id, owner = ARGV[1], ARGV[2]
if not is_seen_by(id, owner) then return 'UNKNOWN' end
if version_of(id) ~= ARGV[3] then return 'CHANGED' end
if status_of(id) ~= 'PENDING' and not has_ended(id) then return 'CONFLICT' end
redis.call('HSET', record(id), 'changed', ARGV[4])
return 'RESERVED'
