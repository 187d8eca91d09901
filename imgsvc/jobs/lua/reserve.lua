-- Reserves an upload before its body is read.
-- Guarantees: an upload is recorded here before any of its bytes reach storage, and is swept if the reservation is not
-- extended for `ttl_ms`. An Idempotency-Key has one upload at a time. An owner's limits hold over all processes, and
-- what is refused counts for nothing. Safe to repeat. An upload with an upload token has one try at a time, and once
-- one has become a job, no other.
-- Returns {outcome, id, ms to wait, and what the limits leave (with_rest)}: RESERVED; OVERLOADED, if `max_queued` jobs
-- wait already; RATE_LIMITED or QUOTA_EXCEEDED with the ms to wait; and for the key's first upload, or the token's,
-- REPLAY if it was accepted, IN_FLIGHT while it is still being received; USED, if that of the token is gone.
-- ARGV: id, ttl_ms, max_queued, idempotency key or '', key_ttl_s, owner, uploads a minute or 0, bytes a day or 0, bytes
-- announced, with an upload token the key at which this try stores the original, else ''
local id, ttl_ms, max_queued, key = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local owner, per_minute, per_day, bytes = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local original = ARGV[10]
local now = now_ms()

-- What has become of the upload of a token; nil where nothing has, or its process has died.
local function begun()
  local status = status_of(id)
  if is_visible(status) then return 'REPLAY' end
  if status == 'RESERVED' then
    if is_newest_try(id, original) then return 'RESERVED' end
    if tonumber(redis.call('ZSCORE', SWEEP, id) or 0) > now then return 'IN_FLIGHT' end
    give_up_try(id)
  elseif status then  -- it is being removed
    return 'IN_FLIGHT'
  end
  return redis.call('EXISTS', token(id)) == 1 and 'USED'
end

local function answer(outcome, found, ms)
  return with_rest({outcome, found, ms or 0}, owner, per_minute, per_day)
end

if original == '' then
  if status_of(id) == 'RESERVED' then return answer('RESERVED', id) end
else
  local found = begun()
  if found then return answer(found, id) end
end
local wait_ms = turn_wait(owner, per_minute)
if wait_ms > 0 then return answer('RATE_LIMITED', id, wait_ms) end
local first = key ~= '' and redis.call('GET', idempotency(key))
if first then
  local status = status_of(first)
  if is_visible(status) then
    take_turn(owner, per_minute)
    return answer('REPLAY', first)
  end
  if status == 'RESERVED' then
    if tonumber(redis.call('ZSCORE', SWEEP, first) or 0) > now then return answer('IN_FLIGHT', first) end
    abort(first)
  end
end
if queued() >= max_queued then return answer('OVERLOADED', id) end
wait_ms = bytes_wait(id, owner, bytes, per_day)
if wait_ms > 0 then return answer('QUOTA_EXCEEDED', id, wait_ms) end
take_turn(owner, per_minute)
take_bytes(id, owner, bytes, per_day)
redis.call('HSET', record(id), 'status', 'RESERVED')
if owner ~= '' then redis.call('HSET', record(id), 'owner', owner) end
if original ~= '' then redis.call('HSET', record(id), 'original', original) end
redis.call('ZADD', SWEEP, now + ttl_ms, id)
if key ~= '' then
  redis.call('HSET', record(id), 'key', key)
  redis.call('SET', idempotency(key), id, 'EX', ARGV[5])
end
return answer('RESERVED', id)
