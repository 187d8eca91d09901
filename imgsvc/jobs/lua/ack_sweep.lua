-- Says that what there was to clear of an upload is gone from storage.
-- Guarantees: forgets an upload that was given up, once nobody can write to it any more, and touches no other's record.
-- Until then the sweeper looks again. Safe to repeat.
-- ARGV: id, 1 where the caller knows that nobody can
local id, is_final = ARGV[1], ARGV[2] == '1'
if is_final then redis.call('ZREM', SETTLING, id) end
ack_sweep(id)
return redis.status_reply('OK')
