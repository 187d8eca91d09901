-- Says that what there was to clear of an upload is gone from storage.
-- Guarantees: forgets an upload that was given up, and touches no other's record. Safe to repeat.
-- ARGV: id
swept(ARGV[1])
return redis.status_reply('OK')
