-- Gives up an upload whose client was told that it failed.
-- Guarantees: no submit that comes later makes a job of it, and one that came earlier without our hearing of it
-- is undone. It stays known as reserved until its objects are gone from storage. Safe to repeat.
-- ARGV: id
local id = ARGV[1]
redis.call('DEL', record(id))
redis.call('HSET', record(id), 'status', 'ABANDONED')
redis.call('ZADD', RESERVED, 'NX', now_ms(), id)
unqueue(id)
return redis.status_reply('OK')
