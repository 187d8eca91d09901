-- Ends a job with what came of it.
-- Guarantees: a job ends once. Record, lease and queue entry end together, and with them its webhook's delivery is
-- queued; an owner that was overtaken by another is fenced off and changes nothing. It works on a Redis that is full.
-- Returns 1, or 0 where the token no longer owns the job.
-- ARGV: id, token, status, field (success or failure), value (JSON), record_ttl_s
local id, token, status = ARGV[1], ARGV[2], ARGV[3]
if not owns(id, token) then return fence(id) end
finish(id, status, ARGV[6])
redis.call('HSET', record(id), ARGV[4], ARGV[5])
if status == 'SUCCESS' then redis.call('HSET', record(id), 'progress', 100) end
return 1
