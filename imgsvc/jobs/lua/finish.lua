-- Ends a job with its outcome.
-- Guarantees: a job ends once. Record, lease and queue entry are updated in one step, and its webhook delivery is
-- queued in the same one. A derivation that succeeds replaces files in that step too; the replaced ones are removed
-- later, and one that fails changes none. What the record does not have of earlier attempts is removed. A worker that
-- lost its lease is fenced off and changes nothing. Works even if Redis is full.
-- Returns 1, or 0 if the token no longer holds the lease.
-- ARGV: id, token, status, field (success or failure), value (JSON), record_ttl_s, ms for which replaced files are
-- kept, the keys of replaced files
local id, token, status, field, keep_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[7])
if not owns(id, token) then return fence(id, token) end
local job, started_at = finish(id, status, ARGV[6])
if field == 'failure' then
  redis.call('HSET', record(id), job .. field, ARGV[5])
  count_failure(ARGV[5])
else
  redis.call('HSET', record(id), field, ARGV[5], job .. 'progress', 100)
  count_done(started_at or now_ms())
end
if job == DERIVED and status == 'SUCCESS' then
  redis.call('HSET', record(id), 'changed', redis.call('HGET', record(id), 'derivation_changes'))
  redis.call('HDEL', record(id), 'derivation_changes')
  -- a sweeper of a version without derivations may have cleared it before its files were stored
  if tonumber(redis.call('HGET', record(id), 'expires_at') or math.huge) <= now_ms() then settle(id) end
  for at = 8, #ARGV do redis.call('ZADD', OBSOLETE, now_ms() + keep_ms, ARGV[at]) end
end
return 1
