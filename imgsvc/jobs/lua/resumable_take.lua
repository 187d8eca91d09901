-- Reads how far an upload is received, and makes its caller the only one who may add to it.
-- Guarantees: of all callers only the last may commit (resumable_commit), so that the offset returned stays what it is
-- until that one, or a later one, changes it. Nothing is taken of an upload that is complete. Safe to repeat.
-- Returns {outcome, 1 if its job is queued, ms to wait, transfer}; outcomes: OK; UNKNOWN, if the owner has none such;
-- OFFSET, if it is another one; LENGTH, if another one is known, or more has been received; QUOTA_EXCEEDED.
-- ARGV: id, owner, kind, the expected offset or '', the length or '', the fence that the caller has and gives up or '',
-- its owner's bytes a day or 0. Kinds: 'read' takes nothing; 'close' neither, and notes that the writer is about to add
-- its last; 'fence' stops whoever writes; 'write' makes the caller the writer.
local id, owner, kind, offset, length, holder = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local per_day = tonumber(ARGV[7])
local status, kept = status_of(id), transfer(id)
local belongs_to, at, known, complete = unpack(redis.call('HMGET', kept, 'owner', 'offset', 'length', 'complete'))
local is_queued = is_visible(status)
if belongs_to ~= owner or not (status == 'RESERVED' or is_queued) then return {'UNKNOWN'} end

local function answer(outcome, wait_ms)
  return {outcome, is_queued and 1 or 0, wait_ms or 0, redis.call('HGETALL', kept)}
end

-- Counts the length of an upload that was begun without it. Returns the ms to wait, 0 if it was counted.
local function count_length()
  local charged = redis.call('HGET', record(id), 'charged')
  if not charged or per_day == 0 then return 0 end
  local amount = counted(id, tonumber(length), per_day)
  local wait_ms = wait_for(quota(owner), amount - charged, per_day, DAY_MS)
  if wait_ms > 0 then return wait_ms end
  take(quota(owner), amount - charged, per_day, DAY_MS)
  redis.call('HSET', record(id), 'charged', amount)
  return 0
end

if offset ~= '' and offset ~= at then return answer('OFFSET') end
if length ~= '' and length ~= known then
  if known or tonumber(length) < tonumber(at) then return answer('LENGTH') end
  local wait_ms = count_length()
  if wait_ms > 0 then return answer('QUOTA_EXCEEDED', wait_ms) end
  redis.call('HSET', kept, 'length', length)
end
if kind == 'read' or complete or is_queued then return answer('OK') end
if holder ~= '' and holder ~= redis.call('HGET', kept, 'fence') then return answer('OK') end
if kind == 'close' then
  redis.call('HSET', kept, 'closing', 1)
  return answer('OK')
end
local fence = redis.call('HINCRBY', kept, 'fence', 1)
redis.call('HDEL', kept, 'closing')
if kind == 'write' then redis.call('HSET', kept, 'writer', fence) else redis.call('HDEL', kept, 'writer') end
return answer('OK')
