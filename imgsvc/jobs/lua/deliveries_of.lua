-- Reads what was tried to deliver the ends of an upload.
-- Returns {attempts (JSON, as ack_webhook keeps them), the oldest first; state, ms of the next attempt of the job's
-- end; the same of the end of its newest derivation; ms until which their host is paused, if it is}.
-- ARGV: id
local id = ARGV[1]
local owner, host = route_of(id)
return {
  redis.call('LRANGE', attempts(id), 0, -1),
  redis.call('HMGET', record(id), OWN .. 'webhook_state', OWN .. 'webhook_next'),
  redis.call('HMGET', record(id), DERIVED .. 'webhook_state', DERIVED .. 'webhook_next'),
  redis.call('ZSCORE', DELIVERIES.paused, owner .. ' ' .. host),
}
