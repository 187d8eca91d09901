-- Records the outcome of a webhook delivery.
-- Guarantees: changes nothing if the delivery was claimed again in the meantime, or if its end no longer counts because
-- the job was retried or the upload deleted.
-- Returns 1, or 0 if nothing was changed.
-- ARGV: id, end (ms), attempt, state (pending, delivered or gave_up), last answer (JSON), ms until the next attempt, 1 if
-- a derivation has ended
local id, state, delay_ms, job = ARGV[1], ARGV[4], tonumber(ARGV[6]), ARGV[7] == '1' and DERIVED or OWN
local before = redis.call('HMGET', record(id), job .. 'webhook_state', job .. 'finished_at', job .. 'webhook_attempts')
if before[1] ~= 'pending' or before[2] ~= ARGV[2] or before[3] ~= ARGV[3] then return 0 end
redis.call('HSET', record(id), job .. 'webhook_state', state, job .. 'webhook_last', ARGV[5])
if state == 'pending' then
  local at = now_ms() + delay_ms
  redis.call('HSET', record(id), job .. 'webhook_next', at)
  redis.call('ZADD', WEBHOOKS[job], at, id)
else
  redis.call('HDEL', record(id), job .. 'webhook_next')
  redis.call('ZREM', WEBHOOKS[job], id)
end
return 1
