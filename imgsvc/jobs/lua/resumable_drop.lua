-- Gives up an upload that is received in pieces, whatever has come of it so far.
-- Guarantees: nobody can add to it any more, and its objects are swept, also what a writer stores late.
-- Returns 1, 2 if it is not dropped since its job is queued, or 0 if the owner has none such.
-- ARGV: id, owner
local id, owner = ARGV[1], ARGV[2]
local status = status_of(id)
if redis.call('HGET', transfer(id), 'owner') ~= owner then return 0 end
if is_visible(status) then return 2 end
if status ~= 'RESERVED' then return 0 end
redis.call('DEL', transfer(id))
redis.call('ZREM', receiving(owner), id)
if redis.call('HEXISTS', record(id), 'original') == 1 then
  give_up_try(id)  -- its upload token is good for another one
else
  abort(id)
  settle(id)
end
return 1
