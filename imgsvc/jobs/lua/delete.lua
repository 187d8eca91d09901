-- Deletes an upload's record and job.
-- Guarantees: whoever works on the job is told, and can no longer finish it. A tombstone says for a while that
-- the upload was here, so that repeating a DELETE is safe; the sweeper looks for files that are stored late, and once
-- more when the tombstone is gone.
-- Returns 1, or 0 where the owner has no such upload.
-- ARGV: id, owner, tombstone_ttl_s, 1 where the caller has found files of an upload of theirs whose record has
-- expired
local id, owner, ttl_s, has_files = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local status = status_of(id)
if not is_visible(status) and (status or not has_files) then
  return redis.call('GET', tombstone(id)) == owner and 1 or 0
end
if status and owner_of(id) ~= owner then return 0 end
free_idempotency_key(id)
give_back(id)
unannounce(id)
unlist(id)
redis.call('DEL', record(id))
tell(id)
unqueue(id)
redis.call('PUBLISH', REVOKED, id)
redis.call('SET', tombstone(id), owner, 'EX', ttl_s)
redis.call('ZADD', SWEEP, now_ms() + FIRST_LOOK_MS, id)
if status and not is_terminal(status) then settle(id) end
return 1
