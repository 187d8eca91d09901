-- Turns a reservation into a queued job.
-- Guarantees: record and queue entry are written together or not at all, so that an upload answered with 202 has its
-- job. What is left of pieces that it was received in is swept, also what is stored late. Safe to repeat: a second call
-- finds the work of the first and changes nothing.
-- Returns 1, or 0 if the reservation is gone (given up, taken by another try, or lost with Redis itself).
-- ARGV: id, ms until it expires or '', the file's bytes or '' if they are not known yet, the key of this try or '',
-- then the record's fields and values
local id, expires_in, bytes, original = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local status = status_of(id)
if not is_newest_try(id, original) then return 0 end
if is_visible(status) then return 1 end
if status ~= 'RESERVED' then return 0 end
local now = now_ms()
redis.call('HSET', record(id), 'created_at', now, unpack(ARGV, 5))
if bytes and redis.call('HEXISTS', record(id), 'charged') == 1 then recharge(id, price(id, bytes)) end
local pieces = redis.call('HGET', transfer(id), 'pieces')
if pieces then redis.call('ZADD', OBSOLETE, now + SETTLE_MS, pieces) end
move(id, 'PENDING')
if expires_in then
  redis.call('HSET', record(id), 'expires_at', now + expires_in)
  redis.call('ZADD', SWEEP, now + expires_in, id)
else
  redis.call('ZREM', SWEEP, id)
end
if original ~= '' then redis.call('SET', token(id), 1, 'EX', TOKEN_TTL_S) end
redis.call('ZADD', ALL, now, id)
count('accepted')
enqueue(id)
return 1
