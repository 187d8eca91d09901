-- Records the original that a job has fetched from its URL and stored.
-- Guarantees: only the holder of the lease writes. Later attempts do not fetch it again.
-- Returns 1, or 0 if the token no longer holds the lease.
-- ARGV: id, token, source (JSON), its bytes
local id, token = ARGV[1], ARGV[2]
if not owns(id, token) then return fence(id, token) end
redis.call('HSET', record(id), 'source', ARGV[3])
if redis.call('HEXISTS', record(id), 'charged') == 1 then recharge(id, price(id, tonumber(ARGV[4]))) end
return 1
