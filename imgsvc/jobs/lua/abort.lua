-- Gives up an upload after its client got an error.
-- Guarantees: a later submit cannot make a job of the upload, and an earlier one, the answer to which was lost, is
-- undone. Its Idempotency-Key is free again, and its objects are swept. Another try of the same upload token is not
-- touched. Safe to repeat.
-- ARGV: id, the key of this try or ''
local id, original = ARGV[1], ARGV[2]
if not is_newest_try(id, original) then
  discard_try(original)
elseif original ~= '' and status_of(id) == 'RESERVED' then
  give_up_try(id)
else
  redis.call('DEL', token(id))
  abort(id)
  settle(id)  -- its caller may have a put under way
end
return redis.status_reply('OK')
