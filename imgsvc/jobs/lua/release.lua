-- Gives a job back unfinished: the worker stops, or a dependency is unavailable.
-- Guarantees: the job is due again after `delay_ms`, and no delivery is counted. Readers still see PROGRESS.
-- Returns 1, or 0 if the token no longer holds the lease.
-- ARGV: id, token, delay_ms
local id, token, delay_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not owns(id, token) then return fence(id, token) end
drop_lease(id)
note_attempt(id, 'released', token)
redis.call('HINCRBY', record(id), 'deliveries', -1)
unqueue(id)
if delay_ms > 0 then redis.call('ZADD', queue_of(id), now_ms() + delay_ms, id) else enqueue(id) end
return 1
