-- Deletes an upload's record and job.
-- Guarantees: whoever works on the job is told, and can no longer finish it. A tombstone says for a while that
-- the upload was here, so that repeating a DELETE is safe.
-- Returns 1, or 0 where nothing is known of the upload.
-- ARGV: id, tombstone_ttl_s
local id, ttl_s = ARGV[1], ARGV[2]
local status = redis.call('HGET', record(id), 'status')
if not status or status == 'RESERVED' or status == 'ABANDONED' then
  return redis.call('EXISTS', tombstone(id))
end
redis.call('SET', tombstone(id), '', 'EX', ttl_s)
redis.call('DEL', record(id))
unqueue(id)
redis.call('PUBLISH', REVOKED, id)
return 1
