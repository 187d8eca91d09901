-- Counts jobs, deliveries and workers, for monitoring.
-- Guarantees: looks at no more jobs than can be leased. If asked to write, it fails exactly if Redis takes no writes.
-- Returns {waiting, leased, delayed, ms for which the first of the waiting has waited, webhook deliveries queued,
-- heartbeats of the workers alive, {fetches waiting, under way, delayed}}. Jobs are those that wait for, have, or had a
-- decoder; what is to be fetched first counts as a fetch.
-- ARGV: lease_ms, 1 to write
local now, lease_ms = now_ms(), tonumber(ARGV[1])
if ARGV[2] == '1' then redis.call('ZADD', WORKERS, -now, CLOCK) end

local function leased_in(queue)
  local count = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '(' .. now, now + lease_ms)) do
    if lease_of(id) then count = count + 1 end
  end
  return count
end

local _, oldest = unpack(redis.call('ZRANGE', WAITING, 0, 0, 'WITHSCORES'))
local waiting, leased, first = redis.call('ZCARD', WAITING), 0, math.min(now, oldest or now)
for _, queue in ipairs({QUEUE, EARLIER_QUEUE, DERIVATIONS}) do
  waiting = waiting + redis.call('ZCOUNT', queue, '-inf', now)
  local _, since = unpack(redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1))
  first = math.min(first, since or now)
  leased = leased + leased_in(queue)
end
local fetching = leased_in(FETCHES)
local due = redis.call('ZCOUNT', FETCHES, '-inf', now)
local fetches = {redis.call('ZCARD', FETCHES_WAITING) + due, fetching, redis.call('ZCARD', FETCHES) - due - fetching}
local delayed = queued() - waiting - leased - fetches[1] - fetches[2] - fetches[3]
return {
  waiting, leased, delayed, now - first, deliveries_queued(),
  redis.call('ZRANGEBYSCORE', WORKERS, now, '+inf'),
  fetches,
}
