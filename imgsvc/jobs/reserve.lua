-- Notes that an upload has begun, before its body is read.
-- Guarantees: an upload is known here before any of its bytes reach storage. Safe to repeat.
-- ARGV: id
local id = ARGV[1]
if redis.call('HSETNX', record(id), 'status', 'RESERVED') == 1 then
  redis.call('ZADD', RESERVED, now_ms(), id)
end
return redis.status_reply('OK')
