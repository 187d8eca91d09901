-- Records the original that was fetched from its URL and stored, and has its upload wait in its owner's line.
-- Guarantees: only the holder of the lease writes. Later attempts do not fetch it again; the next one is still the one
-- that has begun with the fetch, and has all deliveries for itself. Safe to repeat.
-- Returns 1, or 0 if the token no longer holds the lease.
-- ARGV: id, token, source (JSON), its bytes
local id, token = ARGV[1], ARGV[2]
if not owns(id, token) then
  return redis.call('HGET', record(id), 'source') == ARGV[3] and 1 or fence(id, token)
end
unqueue(id)  -- first what frees memory, as in finish
drop_lease(id)
redis.call('HDEL', record(id), 'deliveries')
redis.call('HSET', record(id), 'source', ARGV[3], 'fetched', redis.call('HGET', record(id), 'attempt'))
if redis.call('HEXISTS', record(id), 'charged') == 1 then recharge(id, price(id, tonumber(ARGV[4]))) end
enqueue(id)
return 1
