-- Leases due jobs to a worker, oldest first.
-- Guarantees: a job has one lease, proven by a token that no other claim ever gets; a leased job delays no other; a
-- worker that stops renewing loses the job after `lease_ms`. The job of a worker that died is due again at once, after
-- the second time 1 s later, then 2 s, 4 s; after `max_deliveries` it ends in FAILURE.
-- Returns {{{id, token, token of the lapsed lease or '', id of the request that queued it or ''}, …}, {ids of jobs that
-- it ended, …}}.
-- ARGV: worker, lease_ms, slots, max_deliveries, failure (JSON), record_ttl_s
local worker, lease_ms, slots, max_deliveries = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()

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

-- Whether a due job can be leased now, and the token of the lease that lapsed; settles those that cannot.
local function is_ready(id)
  local status, deliveries = unpack(redis.call('HMGET', record(id), 'status', 'deliveries'))
  local lapsed = lease_of(id)
  deliveries = tonumber(deliveries or 0)
  if not is_visible(status) or is_terminal(status) then
    unqueue(id)  -- an entry without a job
    return false
  end
  if redis.call('ZSCORE', EARLIER_QUEUE, id) then  -- due later there: its worker lives
    redis.call('ZREM', QUEUE, id)
    return false
  end
  if not lapsed then return true end
  if deliveries >= max_deliveries then
    finish(id, 'FAILURE', ARGV[6])
    redis.call('HSET', record(id), 'failure', ARGV[5])
    given_up[#given_up + 1] = id
    return false
  end
  if deliveries == 1 then return true, lapsed end
  drop_lease(id)
  redis.call('ZADD', QUEUE, now + 1000 * 2 ^ (deliveries - 2), id)
  return false
end

adopt()
local claims = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, '-inf', now, 'LIMIT', 0, slots)) do
  local ready, lapsed = is_ready(id)
  if ready then
    -- attempts are never taken back, so the token is new even if this worker had the job before
    local token = worker .. ':' .. redis.call('HINCRBY', record(id), 'attempt', 1)
    redis.call('HINCRBY', record(id), 'deliveries', 1)
    drop_lease(id)
    redis.call('HSET', record(id), 'lease', token)
    redis.call('HSETNX', record(id), 'started_at', now)
    move(id, 'PROGRESS')
    redis.call('ZADD', QUEUE, now + lease_ms, id)
    local request_id = redis.call('HGET', record(id), 'request_id')
    if not request_id then forget_body(id) end
    claims[#claims + 1] = {id, token, lapsed or '', request_id or ''}
  end
end
return {claims, given_up}
