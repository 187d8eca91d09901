-- Gives a job back unfinished: the worker stops, or something that it needs is away.
-- Guarantees: the job is due again after `delay_ms` and has spent no delivery. Readers go on seeing PROGRESS.
-- Returns 1, or 0 where the token no longer owns the job.
-- ARGV: id, token, delay_ms
local id, token, delay_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not owns(id, token) then return fence(id) end
drop_lease(id)
redis.call('HINCRBY', record(id), 'deliveries', -1)
redis.call('ZADD', QUEUE, now_ms() + delay_ms, id)
if delay_ms == 0 then redis.call('PUBLISH', DOORBELL, '') end
return 1
