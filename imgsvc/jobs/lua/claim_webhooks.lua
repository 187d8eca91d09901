-- Hands out webhook deliveries that are due, the longest due first.
-- Guarantees: the delivery of a job's end was written in the same step as that end, so none is forgotten. One that
-- is handed out and not settled within `hold_ms` is handed out again, since its worker has died: a receiver hears of
-- an end at least once, and with bad luck twice, under the same id. Meanwhile nobody else gets it.
-- Deliveries are kept apart from the jobs' queue, so that no slow receiver takes a decoder's slot, and none that
-- waits for hours counts as a queued job.
-- Returns {{id, the ms of the end it tells of, attempt}, …}.
-- ARGV: hold_ms, limit
local hold_ms, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_ms()
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', WEBHOOKS, '-inf', now, 'LIMIT', 0, limit)) do
  local state, finished_at = unpack(redis.call('HMGET', record(id), 'webhook_state', 'finished_at'))
  if state == 'pending' then
    local attempt = redis.call('HINCRBY', record(id), 'webhook_attempts', 1)
    redis.call('HSET', record(id), 'webhook_next', now + hold_ms)
    redis.call('ZADD', WEBHOOKS, now + hold_ms, id)
    found[#found + 1] = {id, finished_at, attempt}
  else
    redis.call('ZREM', WEBHOOKS, id)  -- its record has expired
  end
end
return found
