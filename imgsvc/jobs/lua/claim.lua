-- Leases jobs to a worker, those of each owner in turn.
-- Guarantees: a job has one lease, proven by a token that no other claim ever gets; a leased job delays no other; a
-- worker that stops renewing loses the job after `lease_ms`. The job of a worker that died is due again at once, after
-- the second time 1 s later, then 2 s, 4 s; after `max_deliveries` it ends in FAILURE.
-- No owner gets more leases than it may have.
-- Returns {{{id, token, token of the lapsed lease or '', id of the request that queued it or ''}, …}, {ids of jobs that
-- it ended, …}}; or nothing, if the limits of owners under this fingerprint are to be written first (know_owners.lua).
-- ARGV: worker, lease_ms, slots, max_deliveries, failure (JSON), record_ttl_s, fingerprint of the limits of owners, or
-- '' if no owner has any
local worker, lease_ms, slots, max_deliveries = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local limits = ARGV[7] ~= '' and owners_limits(ARGV[7])
if limits and redis.call('EXISTS', limits) == 0 then return false end
local now = now_ms()
local MOST_DUE = 100  -- that a claim looks at, besides one for each slot

local given_up = {}

-- Versions before 0.1.0 kept a job's body outside of the prefix: where that may not be accessed, the body stays.
local function forget_body(id) redis.pcall('DEL', 'arq:job:' .. id, 'arq:retry:' .. id) end

-- Takes over due jobs of the queue that versions before 0.1.0 write and read. Their workers see nothing of this
-- version's, since they could do none of it; they keep the jobs that they hold until their leases lapse.
local function adopt()
  local rows = redis.call('ZRANGEBYSCORE', EARLIER_QUEUE, '-inf', now, 'WITHSCORES', 'LIMIT', 0, slots)
  for at = 1, #rows, 2 do
    redis.call('ZREM', EARLIER_QUEUE, rows[at])
    redis.call('ZADD', QUEUE, 'NX', rows[at + 1], rows[at])
  end
end

-- Whether a due job can be claimed now; settles those that cannot.
local function is_ready(id, queue)
  local is_earlier = queue == QUEUE and needs_fetch(id)  -- it was queued before fetches had a queue of their own
  if has_ended(id) or (queue ~= queue_of(id) and not is_earlier) then
    redis.call('ZREM', queue, id)  -- an entry without a job
    return false
  end
  if redis.call('ZSCORE', EARLIER_QUEUE, id) then  -- due later there: its worker lives
    redis.call('ZREM', QUEUE, id)
    return false
  end
  local lapsed = lease_of(id)
  if not lapsed then return true end
  stop(id)
  local is_due, has_failed = lapse(id, queue, lapsed, max_deliveries, ARGV[5], ARGV[6])
  if has_failed then given_up[#given_up + 1] = id end
  return is_due
end

-- Has those jobs wait for a worker whose time has come.
local function end_delays()
  for _, queue in ipairs({QUEUE, DERIVATIONS}) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, MOST_DUE + slots)) do
      if is_ready(id, queue) then
        redis.call('ZREM', queue, id)
        line_up(id)
      end
    end
  end
end

-- Begins an attempt. Returns the token of its lease: attempts are never taken back, nor are revisions, so that it is
-- new even if this worker had the job before.
local function begin(id, job)
  local attempt, fetched = unpack(redis.call('HMGET', record(id), job .. 'attempt', 'fetched'))
  if job == DERIVED or not fetched or fetched ~= attempt then
    attempt = redis.call('HINCRBY', record(id), job .. 'attempt', 1)
  end
  if fetched then redis.call('HDEL', record(id), 'fetched') end  -- it goes on with the attempt that has fetched it
  redis.call('HINCRBY', record(id), 'deliveries', 1)
  redis.call('HSETNX', record(id), job .. 'started_at', now)
  move(id, 'PROGRESS')
  if job == OWN then return worker .. ':' .. attempt end
  return table.concat({worker, 'r' .. redis.call('HGET', record(id), 'derivation'), attempt}, ':')
end

-- Leases a job. Returns it as the worker gets it.
local function lease(id)
  local lapsed = take_over(id)
  local job = job_of(id)
  local token = begin(id, job)
  redis.call('HSET', record(id), 'lease', token)
  redis.call('ZADD', queue_in(job), now + lease_ms, id)
  if limits then start(id) end
  local request_id = redis.call('HGET', record(id), 'request_id')
  if not request_id then forget_body(id) end
  return {id, token, lapsed, request_id or ''}
end

-- The weight of an owner, and how many jobs it may run at most, 0 for any number.
local function limits_of(owner)
  local own = limits and redis.call('HGET', limits, owner)
  if not own then return 1, 0 end
  local weight, most = own:match('^(%S+) (%d+)$')
  return tonumber(weight), tonumber(most)
end

adopt()
end_delays()
local claims, moved = {}, 0
while #claims < slots and moved < MOST_DUE do
  local id = next_job(limits_of)
  if not id then break end
  if needs_fetch(id) then  -- a version that fetches while it runs a job has queued it
    enqueue(id)
    moved = moved + 1
  else
    claims[#claims + 1] = lease(id)
  end
end
return {claims, given_up}
