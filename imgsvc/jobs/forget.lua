-- Forgets an abandoned upload, once nothing of it is left in storage.
-- Guarantees: touches no other upload. Safe to repeat.
-- ARGV: id
local id = ARGV[1]
if redis.call('HGET', record(id), 'status') == 'ABANDONED' then redis.call('DEL', record(id)) end
redis.call('ZREM', RESERVED, id)
return redis.status_reply('OK')
