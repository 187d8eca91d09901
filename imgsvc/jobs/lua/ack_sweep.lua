-- Records that an upload's objects have been removed from storage.
-- Guarantees: removes the record of an upload that was given up, once no process can write to it any more, and no other
-- record. Until then the sweeper looks again. Safe to repeat.
-- ARGV: id, 1 if the caller knows that no process can write to it
local id, is_final = ARGV[1], ARGV[2] == '1'
if is_final then redis.call('ZREM', SETTLING, id) end
ack_sweep(id)
return redis.status_reply('OK')
