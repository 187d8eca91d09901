-- Leases due jobs to a worker, oldest first.
-- Guarantees: a job has one owner, named by a token that no other claim ever gets; a claimed job stands in
-- nobody's way; an owner that falls silent loses the job after `lease_ms`. A job whose owner died is due again
-- at once, after the second time 1 s later, then 2 s, 4 s; after `max_deliveries` it ends in FAILURE.
-- Returns {{{id, token, token of the lapsed lease or '', request that queued it or ''}, …}, {ids of those that it ended,
-- …}}.
-- ARGV: worker, lease_ms, slots, max_deliveries, failure (JSON), record_ttl_s
local worker, lease_ms, slots, max_deliveries = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()

local given_up = {}

-- An earlier version kept a job's body beside its record, outside of the prefix: where that is not allowed, it stays.
local function forget_body(id) redis.pcall('DEL', 'arq:job:' .. id, 'arq:retry:' .. id) end

-- Whether a due job can be leased now, and the token of the lease that lapsed; settles those that cannot.
local function is_ready(id)
  local status, owner, deliveries = unpack(redis.call('HMGET', record(id), 'status', 'owner', 'deliveries'))
  deliveries = tonumber(deliveries or 0)
  if not is_visible(status) or is_terminal(status) then
    unqueue(id)  -- whoever wrote this entry, there is no job behind it
    return false
  end
  if not owner then return true end
  if deliveries >= max_deliveries then
    finish(id, 'FAILURE', ARGV[6])
    redis.call('HSET', record(id), 'failure', ARGV[5])
    given_up[#given_up + 1] = id
    return false
  end
  if deliveries == 1 then return true, owner end
  redis.call('HDEL', record(id), 'owner')
  redis.call('ZADD', QUEUE, now + 1000 * 2 ^ (deliveries - 2), id)
  return false
end

local claims = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, '-inf', now, 'LIMIT', 0, slots)) do
  local ready, lapsed = is_ready(id)
  if ready then
    -- attempts are never taken back, so the token is new even if this worker had the job before
    local token = worker .. ':' .. redis.call('HINCRBY', record(id), 'attempt', 1)
    redis.call('HINCRBY', record(id), 'deliveries', 1)
    redis.call('HSET', record(id), 'owner', token)
    redis.call('HSETNX', record(id), 'started_at', now)
    move(id, 'PROGRESS')
    redis.call('ZADD', QUEUE, now + lease_ms, id)
    local request_id = redis.call('HGET', record(id), 'request_id')
    if not request_id then forget_body(id) end
    claims[#claims + 1] = {id, token, lapsed or '', request_id or ''}
  end
end
return {claims, given_up}
