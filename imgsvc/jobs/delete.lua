-- Deletes an upload's record and job.
-- Guarantees: whoever works on the job is told, and can no longer finish it. A tombstone says for a while that
-- the upload was here, so that repeating a DELETE is safe; behind it the sweeper looks once more for files.
-- Returns 1, or 0 where nothing is known of the upload.
-- ARGV: id, tombstone_ttl_s, 1 where the caller has found files of an upload whose record has expired
local id, ttl_s, has_files = ARGV[1], ARGV[2], ARGV[3] == '1'
local status = status_of(id)
if not is_visible(status) and (status or not has_files) then return redis.call('EXISTS', tombstone(id)) end
free_idempotency_key(id)
unannounce(id)
unlist(id)
redis.call('DEL', record(id))
tell(id)
unqueue(id)
redis.call('PUBLISH', REVOKED, id)
redis.call('SET', tombstone(id), '', 'EX', ttl_s)
redis.call('ZADD', SWEEP, now_ms() + 1000 * ttl_s, id)
return 1
