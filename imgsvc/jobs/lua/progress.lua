-- Records the progress of a job.
-- Guarantees: only the holder of the lease writes, and progress never falls, even if the job is run again.
-- ARGV: id, token, progress (0–100), step
local id, token, progress = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not owns(id, token) then return 0 end
local before = tonumber(redis.call('HGET', record(id), 'progress') or 0)
redis.call('HSET', record(id), 'progress', math.max(before, progress), 'step', ARGV[4])
notify(id)
return 1
