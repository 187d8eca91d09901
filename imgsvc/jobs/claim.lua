-- Leases due jobs to a worker, oldest first.
-- Guarantees: a job has one owner, named by a token that no other claim ever gets; a claimed job stands in
-- nobody's way; an owner that falls silent loses the job after `lease_ms`; a job whose owners died
-- `max_deliveries` times ends in FAILURE.
-- Returns {{id, token}, …}.
-- ARGV: worker, lease_ms, slots, max_deliveries, failure (JSON), record_ttl_s
local worker, lease_ms, slots, max_deliveries = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
local claims = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, '-inf', now, 'LIMIT', 0, slots)) do
  local status = redis.call('HGET', record(id), 'status')
  if status ~= 'PENDING' and status ~= 'PROGRESS' then
    unqueue(id)  -- whoever wrote this entry, there is no upload behind it
  elseif redis.call('HINCRBY', record(id), 'deliveries', 1) > max_deliveries then
    finish(id, 'FAILURE', 'failure', ARGV[5], ARGV[6])
  else
    -- attempts are never taken back, so the token is new even if this worker had the job before
    local token = worker .. ':' .. redis.call('HINCRBY', record(id), 'attempt', 1)
    redis.call('HSET', record(id), 'status', 'PROGRESS', 'owner', token)
    redis.call('HSETNX', record(id), 'started_at', now)
    redis.call('ZADD', QUEUE, now + lease_ms, id)
    claims[#claims + 1] = {id, token}
  end
end
return claims
