-- Cancels a bulk action. What it has done stays done.
-- Guarantees: no upload is changed by it from now on. Safe to repeat.
-- Returns 1, or 0 if there is no such action.
-- ARGV: id, ttl_s
local id = ARGV[1]
local state = redis.call('HGET', bulk(id), 'state')
if not state then return 0 end
if state == 'RUNNING' then end_bulk(id, 'CANCELLED', ARGV[2]) end
return 1
