-- Holds a job back until somebody releases it.
-- Guarantees: no worker gets it, and no delivery is counted; it can be cancelled and deleted, and expires, as any
-- other. Readers see PROGRESS, and the step `held`.
-- Returns 1, or 0 if the token no longer holds the lease.
-- ARGV: id, token
local id, token = ARGV[1], ARGV[2]
if not owns(id, token) then return fence(id, token) end
drop_lease(id)
unqueue(id)
redis.call('HINCRBY', record(id), 'deliveries', -1)
redis.call('HSET', record(id), 'gate', 'held', 'step', 'held')
notify(id)
return 1
