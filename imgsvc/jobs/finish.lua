-- Ends a job with what came of it.
-- Guarantees: a job ends once. Record, lease and queue entry end together; an owner that was overtaken by
-- another is fenced off and changes nothing.
-- Returns 1, or 0 where the token no longer owns the job.
-- ARGV: id, token, status, field (success or failure), value (JSON), record_ttl_s
local id, token = ARGV[1], ARGV[2]
if not owns(id, token) then return 0 end
finish(id, ARGV[3], ARGV[4], ARGV[5], ARGV[6])
return 1
