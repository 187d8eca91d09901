-- Records that obsolete files have been removed.
-- Guarantees: those that no record has are looked for again when no process can store any more. Safe to repeat.
-- ARGV: member of OBSOLETE
local until_ms = tonumber(ARGV[1]:match(':(%d+)$') or 0)
if until_ms > now_ms() then
  redis.call('ZADD', OBSOLETE, until_ms, ARGV[1])
else
  redis.call('ZREM', OBSOLETE, ARGV[1])
end
return redis.status_reply('OK')
