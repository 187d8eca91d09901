-- The moves of an upload that several scripts make.

-- Turns away a worker that has lost its lease. If its files are to be removed, it may have stored some after the others
-- were.
local function fence(id, token)
  local status, newest, derivation =
    unpack(redis.call('HMGET', record(id), 'status', 'derivation', 'derivation_status'))
  if has_ended(id) then unqueue(id) end
  local revision = token:match(':r(%d+):%d+$')
  if not revision then
    -- an unknown upload, too: it was deleted, or Redis was emptied; an expiring record outlives late writers by days
    if not is_visible(status) or status == 'CANCELLED' then
      settle(id)
    elseif TERMINAL[status] then  -- by another attempt
      discard(id, FIRST_REVISION)
    end
  elseif is_visible(status) then
    if revision ~= newest or TERMINAL[derivation] then discard(id, revision) end
  elseif redis.call('EXISTS', tombstone(id)) == 1 then
    settle(id)  -- but not where Redis was emptied: the upload has files that clients know
  end
  return 0
end

-- Has those files of a job removed that its end leaves in no record: all that a derivation stored which made nothing,
-- and what earlier attempts have stored. Those of a cancelled job are settled.
local function discard_strays(id, job, status, attempt, revision)
  if job == OWN then
    if status ~= 'CANCELLED' and attempt > 1 then discard(id, FIRST_REVISION) end
  elseif RETRYABLE[status] or attempt > 1 then
    discard(id, revision)
  end
end

-- Ends an upload's job for good: record, lease, queue entry and webhook delivery together. It begins with what frees
-- memory, since from then on a Redis that is full lets a script write. Its last lease and its request are
-- still known by `by`. Returns the job, and when it was started first.
local function finish(id, status, ttl_s)
  local job = job_of(id)
  local token, request_id, created_at, started_at, attempt, revision = unpack(redis.call('HMGET', record(id),
    'lease', 'request_id', 'created_at', job .. 'started_at', job .. 'attempt', 'derivation'))
  attempt = tonumber(attempt or 0)
  unqueue(id)
  drop_lease(id)
  redis.call('HDEL', record(id), job .. 'step', 'deliveries', 'request_id')
  refund(id)
  redis.call('HSET', record(id), job .. 'finished_at', now_ms(), 'by', (token or '-') .. '\t' .. (request_id or '-'))
  local ended = move(id, status)
  redis.call('EXPIRE', record(id), ttl_s)
  trim(ended, ttl_s)
  discard_strays(id, job, status, attempt, revision)
  if RETRYABLE[status] then redis.call('ZADD', UNSUCCESSFUL[status], created_at, id) end
  -- a worker that died, or lost its lease, may have left a part of what it fetched; others remove it themselves
  if status == 'FAILURE' and attempt > 1 and needs_fetch(id) then
    sweep_at(id, now_ms() + FIRST_LOOK_MS)
  end
  -- a client that cancels a derivation still has all that it had
  if job == OWN or status ~= 'CANCELLED' then queue_webhook(id, job) end
  return job, started_at
end

-- Settles a job whose lease has lapsed. It is due again at once, after the second time 1 s later, then 2 s, 4 s; after
-- `max_deliveries` it ends in `failure` (JSON). One that is due at once keeps its lease until it is claimed: its worker
-- may come back. Returns whether it is due now, and whether it has ended.
local function lapse(id, queue, token, max_deliveries, failure, ttl_s)
  local deliveries = tonumber(redis.call('HGET', record(id), 'deliveries') or 0)
  if deliveries >= max_deliveries then
    local job = finish(id, 'FAILURE', ttl_s)
    redis.call('HSET', record(id), job .. 'failure', failure)
    count_failure(failure)
    return false, true
  end
  if deliveries == 1 then return true, false end
  drop_lease(id)
  note_attempt(id, 'lapsed', token)
  redis.call('ZADD', queue, now_ms() + 1000 * 2 ^ (deliveries - 2), id)
  return false, false
end

-- Drops the lease of a job that is claimed anew. Returns its token, '' where the job was free.
local function take_over(id)
  local lapsed = lease_of(id)
  drop_lease(id)
  if lapsed then note_attempt(id, 'lapsed', lapsed) end
  return lapsed or ''
end

-- Cancels an upload's job, and notifies the worker that runs it. Returns the job.
local function cancel(id, ttl_s)
  local has_begun = redis.call('HEXISTS', record(id), 'attempt') == 1
  local job = finish(id, 'CANCELLED', ttl_s)
  count('cancelled')
  if job == OWN and has_begun then settle(id) end
  redis.call('PUBLISH', REVOKED, id)
  return job
end

-- Cancels a job as `cancel` does, and has the sweeper remove what an upload's own job has stored; that is not run again
-- before.
local function cancel_and_sweep(id, ttl_s)
  local job = cancel(id, ttl_s)
  if job == OWN then
    redis.call('HSET', record(id), 'sweeping', 1)
    sweep_at(id, now_ms() + FIRST_LOOK_MS)
  end
  return job
end

-- Admits one more run of an upload's job within its owner's limits, which are those of an upload of these bytes, or
-- refuses it and counts nothing. Returns what a script answers then: {outcome, ms to wait, what the limits leave}.
local function admission(id, max_queued, per_minute, per_day, unknown_bytes)
  local owner, source = owner_of(id), redis.call('HGET', record(id), 'source')
  local bytes = source and tonumber(source:match('^%[(%d+)')) or unknown_bytes
  local function answer(outcome, wait_ms) return with_rest({outcome, wait_ms}, owner, per_minute, per_day) end
  local wait_ms = turn_wait(owner, per_minute)
  if wait_ms > 0 then return answer('RATE_LIMITED', wait_ms) end
  if queued() >= max_queued then return answer('OVERLOADED', 0) end
  wait_ms = bytes_wait(id, owner, bytes, per_day)
  if wait_ms > 0 then return answer('QUOTA_EXCEEDED', wait_ms) end
  take_turn(owner, per_minute)
  take_bytes(id, owner, bytes, per_day)
  return answer('RESERVED', 0)
end

-- Queues an upload's job, with all its deliveries; a derivation under a revision that none had before.
local function run(id, request_id)
  local job = job_of(id)
  note_end(id, job)
  for _, set in pairs(UNSUCCESSFUL) do redis.call('ZREM', set, id) end
  count('accepted')
  -- whoever cancelled what the gate held back has not released it
  if redis.call('HGET', record(id), 'gate') == 'held' then redis.call('HSET', record(id), 'gate', 'ask') end
  if job == DERIVED then
    redis.call('HSETNX', record(id), 'derivation', FIRST_REVISION)
    redis.call('HINCRBY', record(id), 'derivation', 1)
    redis.call('HSET', record(id), 'derivation_created_at', now_ms())
    redis.call('HDEL', record(id), 'derivation_attempt')
  end
  redis.call('HSET', record(id), job .. 'progress', 0, 'request_id', request_id)
  redis.call('HDEL', record(id), job .. 'failure', job .. 'started_at', job .. 'finished_at')
  move(id, 'PENDING')
  drop_webhook(id, job)
  redis.call('PERSIST', record(id))
  enqueue(id)
end

-- Queues again what has failed or was cancelled, within its owner's limits; retry.lua has the outcomes.
local function run_again(id, request_id, max_queued, per_minute, per_day, unknown_bytes)
  local fields = redis.call('HMGET', record(id), job_of(id) .. 'status', 'expires_at', 'sweeping')
  local status, expires_at, sweeping = unpack(fields)
  if not RETRYABLE[status] then return {'CONFLICT'} end
  if sweeping or tonumber(expires_at or math.huge) <= now_ms() then return {'CONFLICT'} end
  local answer = admission(id, max_queued, per_minute, per_day, unknown_bytes)
  if answer[1] == 'RESERVED' then run(id, request_id) end
  return answer
end

local function free_idempotency_key(id)
  local key = redis.call('HGET', record(id), 'key')
  if key and redis.call('GET', idempotency(key)) == id then redis.call('DEL', idempotency(key)) end
end

-- Makes sure that an upload never becomes a job, and stops the one that it may have become. It stays recorded
-- until its objects are gone from storage.
local function abort(id)
  free_idempotency_key(id)
  unqueue(id)
  drop_webhook(id, OWN)
  recharge(id, 0)
  unlist(id)
  redis.call('DEL', record(id))
  redis.call('HSET', record(id), 'status', 'ABANDONED')
  notify(id)
  redis.call('PUBLISH', REVOKED, id)
  sweep_at(id, now_ms() + FIRST_LOOK_MS)
end

-- Whether `original` is where the upload's newest try stores its file. Tries have keys of their own where an upload
-- token lets a client try again; '' stands for all others.
local function is_newest_try(id, original)
  return original == '' or redis.call('HGET', record(id), 'original') == original
end

-- Has the original of a try that failed removed, when its process can no longer write it.
local function discard_try(original) redis.call('ZADD', OBSOLETE, now_ms() + SETTLE_MS, original) end

-- Gives up the try of an upload that has not become a job. Nothing of it stays in the way of the next one.
local function give_up_try(id)
  discard_try(redis.call('HGET', record(id), 'original'))
  recharge(id, 0)
  redis.call('DEL', record(id))
  redis.call('ZREM', SWEEP, id)
end

-- The ms from which the sweeper must look at an upload again, if ever.
local function next_look(id)
  local now, settled_at = now_ms(), redis.call('ZSCORE', SETTLING, id)
  if settled_at then  -- after twice the time that it has been settling
    return math.max(now + FIRST_LOOK_MS, math.min(tonumber(settled_at), now + 2 * (now + SETTLE_MS - settled_at)))
  end
  local expires_at = tonumber(redis.call('HGET', record(id), 'expires_at') or 0)
  if expires_at > now then return expires_at end
  local deleted_ms = redis.call('PTTL', tombstone(id))
  return deleted_ms > 0 and now + deleted_ms
end

-- An upload's objects have been removed. The sweeper looks again while a process may still write to it.
local function ack_sweep(id)
  local at_ms = next_look(id)
  redis.call('HDEL', record(id), 'sweeping')
  if at_ms then redis.call('ZADD', SWEEP, at_ms, id) else redis.call('ZREM', SWEEP, id) end
  if status_of(id) == 'ABANDONED' and not redis.call('ZSCORE', SETTLING, id) then redis.call('DEL', record(id)) end
end
