-- Gives up an upload after its client got an error.
-- Guarantees: a later submit cannot make a job of the upload, and an earlier one, the answer to which was lost, is
-- undone. Its Idempotency-Key is free again, and its objects are swept. Safe to repeat.
-- ARGV: id
abort(ARGV[1])
settle(ARGV[1])  -- its caller may have a put under way
return redis.status_reply('OK')
