-- Notes how far a bulk action has looked, or that it is done.
-- Guarantees: only the worker that holds it goes on with it.
-- Returns 1, or 0 if the caller no longer holds it.
-- ARGV: id, holder, hold_ms, ttl_s, ms and id of the last upload looked at, or '' if there are no more
local id, holder, hold_ms, ttl_s, ms, last = unpack(ARGV, 1, 6)
if not holds(id, holder) then return 0 end
if ms == '' then
  end_bulk(id, 'DONE', ttl_s)
else
  redis.call('HSET', bulk(id), 'position', ms .. ' ' .. last)
  redis.call('ZADD', BULK, now_ms() + hold_ms, id)
end
return 1
