-- Makes a reservation that of an upload which is received in pieces.
-- Guarantees: it is swept at the end of its time unless it was submitted, whether or not anything else happens. An
-- owner has no more than `most` of them that are not received completely. Safe to repeat.
-- Returns the ms at which its time is over, 0 if the reservation is gone, -1 if the owner has too many.
-- ARGV: id, owner, ms that it may take, most, then fields and values of its transfer
local id, owner, ttl_ms, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if status_of(id) ~= 'RESERVED' then return 0 end
local now, open = now_ms(), receiving(owner)
redis.call('ZREMRANGEBYSCORE', open, '-inf', now)
if not redis.call('ZSCORE', open, id) and redis.call('ZCARD', open) >= most then return -1 end
local expires_at = now + ttl_ms
-- with an upload token there may have been other tries, whose writers must not hold a fence of this one
local base = redis.call('HEXISTS', record(id), 'original') == 1 and now or 0
redis.call('DEL', transfer(id))
redis.call('HSET', transfer(id), 'owner', owner, 'offset', 0, 'base', base, 'fence', base, 'expires_at', expires_at,
  unpack(ARGV, 5))
redis.call('PEXPIRE', transfer(id), ttl_ms + GRACE_MS)
redis.call('ZADD', open, expires_at, id)
redis.call('PEXPIRE', open, ttl_ms + GRACE_MS)
redis.call('ZADD', SWEEP, expires_at, id)
return expires_at
