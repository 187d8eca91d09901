-- Notes what an original is that its job has fetched from its URL and stored.
-- Guarantees: only the job's owner writes. From here on no attempt fetches it again.
-- Returns 1, or 0 where the token no longer owns the job.
-- ARGV: id, token, source (JSON), its bytes
local id, token = ARGV[1], ARGV[2]
if not owns(id, token) then return fence(id) end
redis.call('HSET', record(id), 'source', ARGV[3])
if redis.call('HEXISTS', record(id), 'charged') == 1 then recharge(id, price(id, tonumber(ARGV[4]))) end
return 1
