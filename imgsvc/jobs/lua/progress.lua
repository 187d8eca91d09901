-- Records the progress of a job.
-- Guarantees: only the holder of the lease writes, and progress never falls, even if the job is run again.
-- ARGV: id, token, progress (0–100), step
local id, token, progress = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not owns(id, token) then return 0 end
local job = job_of(id)
local before = tonumber(redis.call('HGET', record(id), job .. 'progress') or 0)
redis.call('HSET', record(id), job .. 'progress', math.max(before, progress), job .. 'step', ARGV[4])
notify(id)
return 1
