-- Tells readers how far a job has come.
-- Guarantees: only its owner writes, and progress never falls, also when the job is run again.
-- ARGV: id, token, progress (0–100), step
local id, token, progress = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not owns(id, token) then return 0 end
local before = tonumber(redis.call('HGET', record(id), 'progress') or 0)
redis.call('HSET', record(id), 'progress', math.max(before, progress), 'step', ARGV[4])
tell(id)
return 1
