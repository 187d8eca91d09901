-- Gives up an upload whose client was told that it failed.
-- Guarantees: no submit that comes later makes a job of it, and one that came earlier without our hearing of it
-- is undone. Its Idempotency-Key is free again, and what it has stored is swept. Safe to repeat.
-- ARGV: id
abort(ARGV[1])
settle(ARGV[1])  -- the one who asks for it may have a put under way
return redis.status_reply('OK')
