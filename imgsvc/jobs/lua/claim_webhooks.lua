-- Claims webhook deliveries that are due, the longest due first.
-- Guarantees: a delivery is queued in the same step as the end of its job, so that none is lost. A delivery that is not
-- acknowledged within `hold_ms` is due again, since its worker has died: a receiver gets each end at least once, and
-- rarely twice, under the same id. Until then no other worker gets it.
-- Deliveries have a queue of their own, so that a slow receiver takes no decoder's slot, and a delivery that waits for
-- hours does not count as a queued job.
-- Returns {{id, end (ms), attempt, 1 if a derivation has ended}, …}.
-- ARGV: hold_ms, limit
local hold_ms, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_ms()
local found = {}
for _, job in ipairs({OWN, DERIVED}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', WEBHOOKS[job], '-inf', now, 'LIMIT', 0, limit - #found)) do
    local state, finished_at = unpack(redis.call('HMGET', record(id), job .. 'webhook_state', job .. 'finished_at'))
    if state == 'pending' then
      local attempt = redis.call('HINCRBY', record(id), job .. 'webhook_attempts', 1)
      redis.call('HSET', record(id), job .. 'webhook_next', now + hold_ms)
      redis.call('ZADD', WEBHOOKS[job], now + hold_ms, id)
      found[#found + 1] = {id, finished_at, attempt, job == DERIVED and 1 or 0}
    else
      redis.call('ZREM', WEBHOOKS[job], id)  -- its record has expired
    end
  end
end
return found
