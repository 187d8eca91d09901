-- Records the outcome of a webhook delivery.
-- Guarantees: changes nothing of the delivery if it was claimed again in the meantime, or if its end no longer counts
-- because the job was retried or the upload deleted. A host that did not answer is paused for its owner, longer each
-- time in a row that its probe fails; one that did answer, whatever it said, is not any more.
-- Returns {1, or 0 if nothing of the delivery was changed, ms for which its host is paused from now on or 0}.
-- ARGV: id, end (ms), attempt, state (pending, delivered or gave_up), last answer (JSON), ms until the next attempt, 1
-- if a derivation has ended, owner, host, 1 if the host has answered or 0 if not or '' if it was not asked, ms that it
-- took, what is kept of the attempt besides its time and what had ended (JSON without its brackets), ms for which it is
-- kept, ms of the first pause of a host, and of the longest
local id, state, delay_ms, job = ARGV[1], ARGV[4], tonumber(ARGV[6]), ARGV[7] == '1' and DERIVED or OWN
local owner, host, answered, took_ms = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])
local route, member = owner .. ' ' .. host, job .. id
local MOST_KEPT = 20

local function end_pause()
  if redis.call('DEL', pause(route)) == 0 then return end
  redis.call('ZREM', DELIVERIES.paused, route)
  if redis.call('EXISTS', deliveries_to(route)) == 1 then join_ring(owner, host) end
end

-- Returns for how long. An attempt that began before its host was paused makes no pause longer.
local function begin_pause()
  local failures, probe = unpack(redis.call('HMGET', pause(route), 'failures', 'probe'))
  if failures and probe ~= attempt_of(member, ARGV[3]) then return 0 end
  local pause_ms = math.min(tonumber(ARGV[15]), ARGV[14] * 2 ^ (failures or 0))
  redis.call('HINCRBY', pause(route), 'failures', 1)
  redis.call('HDEL', pause(route), 'probe')
  redis.call('PEXPIRE', pause(route), pause_ms + MEMORY_MS)
  redis.call('ZADD', DELIVERIES.paused, now_ms() + pause_ms, route)
  leave_ring(owner, host)
  return pause_ms
end

local function keep_attempt()
  local at_ms = string.format('%d', now_ms() - took_ms)
  local revision = job == DERIVED and redis.call('HGET', record(id), 'derivation') or 1
  redis.call('RPUSH', attempts(id), '[' .. table.concat({at_ms, ARGV[2], revision, ARGV[12]}, ',') .. ']')
  redis.call('LTRIM', attempts(id), -MOST_KEPT, -1)
  redis.call('PEXPIRE', attempts(id), ARGV[13])
end

local pause_ms = 0
if answered == '1' then end_pause() elseif answered == '0' then pause_ms = begin_pause() end
local before = redis.call('HMGET', record(id), job .. 'webhook_state', job .. 'finished_at', job .. 'webhook_attempts')
if before[1] ~= 'pending' or before[2] ~= ARGV[2] or before[3] ~= ARGV[3] then return {0, pause_ms} end
keep_attempt()
redis.call('HSET', record(id), job .. 'webhook_state', state, job .. 'webhook_last', ARGV[5])
redis.call('HDEL', record(id), job .. 'webhook_claim')
undeliver(id, job)  -- its time may be over, and no other worker have claimed it yet
if state == 'pending' then
  local at = now_ms() + delay_ms
  redis.call('HSET', record(id), job .. 'webhook_next', at)
  redis.call('ZADD', DELIVERIES.delayed, at, member)
else
  redis.call('HDEL', record(id), job .. 'webhook_next')
end
return {1, pause_ms}
