-- Ends a job with its outcome.
-- Guarantees: a job ends once. Record, lease and queue entry are updated in one step, and its webhook delivery is
-- queued in the same one. A worker that lost its lease is fenced off and changes nothing. Works even if Redis is full.
-- Returns 1, or 0 if the token no longer holds the lease.
-- ARGV: id, token, status, field (success or failure), value (JSON), record_ttl_s
local id, token, status = ARGV[1], ARGV[2], ARGV[3]
if not owns(id, token) then return fence(id) end
finish(id, status, ARGV[6])
redis.call('HSET', record(id), ARGV[4], ARGV[5])
if status == 'SUCCESS' then redis.call('HSET', record(id), 'progress', 100) end
return 1
