-- Notes the limits of owners who are not like every other, for claims that are given their fingerprint.
-- Guarantees: processes that know different owners disturb each other in nothing: each fingerprint has limits of its
-- own. They expire after `ttl_ms`, or with Redis; a claim asks for them again then. Safe to repeat.
-- ARGV: fingerprint, ttl_ms, then of each owner its name, its weight and the most jobs that it may run (0: any number)
local limits = owners_limits(ARGV[1])
for at = 3, #ARGV, 3 do redis.call('HSET', limits, ARGV[at], ARGV[at + 1] .. ' ' .. ARGV[at + 2]) end
redis.call('PEXPIRE', limits, ARGV[2])
return redis.status_reply('OK')
