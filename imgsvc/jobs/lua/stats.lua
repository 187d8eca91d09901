-- Counts what there is, for those who watch over it.
-- Guarantees: looks at no more jobs than leases may be running. Where it is to say whether Redis takes writes, it fails
-- as these do.
-- Returns {waiting, leased, delayed, ms for which the first of the waiting has been due, webhooks to tell,
-- heartbeats of the workers alive}.
-- ARGV: lease_ms, 1 to write
local now, lease_ms = now_ms(), tonumber(ARGV[1])
if ARGV[2] == '1' then redis.call('ZADD', WORKERS, -now, CLOCK) end
local waiting = redis.call('ZCOUNT', QUEUE, '-inf', now)
local _, since = unpack(redis.call('ZRANGEBYSCORE', QUEUE, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1))
local leased = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', QUEUE, '(' .. now, now + lease_ms)) do
  leased = leased + redis.call('HEXISTS', record(id), 'owner')
end
return {
  waiting, leased, redis.call('ZCARD', QUEUE) - waiting - leased, now - tonumber(since or now),
  redis.call('ZCARD', WEBHOOKS), redis.call('ZRANGEBYSCORE', WORKERS, now, '+inf'),
}
