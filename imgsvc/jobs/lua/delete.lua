-- Deletes an upload's record and job.
-- Guarantees: the worker that runs the job is notified, and can no longer finish it. A tombstone is kept for a while,
-- so that a DELETE can be repeated. The sweeper removes objects that are stored late, and looks once more when the
-- tombstone expires.
-- Returns 1, or 0 if the owner has no such upload.
-- ARGV: id, owner, tombstone_ttl_s, 1 if the caller has found files of an upload of this owner whose record has expired
local id, owner, ttl_s, has_files = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local status = status_of(id)
if not is_visible(status) and (status or not has_files) then
  local theirs = redis.call('GET', tombstone(id))
  return theirs and (owner == ANYBODY or theirs == owner) and 1 or 0
end
if status and not is_seen_by(id, owner) then return 0 end
if status then owner = owner_of(id) end
local may_run = status and not has_ended(id)
free_idempotency_key(id)
refund(id)
for _, job in ipairs({OWN, DERIVED}) do drop_webhook(id, job) end
unlist(id)
unqueue(id)
redis.call('DEL', record(id), attempts(id))
notify(id)
redis.call('PUBLISH', REVOKED, id)
redis.call('SET', tombstone(id), owner, 'EX', ttl_s)
redis.call('ZADD', SWEEP, now_ms() + FIRST_LOOK_MS, id)
if may_run then
  settle(id)
  count('cancelled')
end
return 1
