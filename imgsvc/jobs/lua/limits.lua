-- How many uploads an owner may begin a minute, and how many bytes a day: leaky buckets.

local function rate(owner) return PREFIX .. 'rate:' .. owner end
local function quota(owner) return PREFIX .. 'quota:' .. owner end

-- The level of a bucket now, and how much it loses in a ms: `leak`, or as when it was filled last.
local function level_of(bucket, leak)
  local level, at, leaked = unpack(redis.call('HMGET', bucket, 'level', 'at', 'leak'))
  leak = leak or tonumber(leaked or 0)
  local passed_ms = math.max(0, now_ms() - tonumber(at or 0))  -- less than none where the clock was set back
  return math.max(0, tonumber(level or 0) - passed_ms * leak), leak
end

local function fill(bucket, level, leak)
  redis.call('HSET', bucket, 'level', level, 'at', now_ms(), 'leak', leak)
  redis.call('PEXPIRE', bucket, math.ceil(level / leak) + 1)
end

-- The ms until a bucket that holds `size`, and leaks as much in `period_ms`, has room for `amount`; 0 where it has.
local function wait_for(bucket, amount, size, period_ms)
  local level = level_of(bucket, size / period_ms)
  return math.max(0, math.ceil((level + amount - size) * period_ms / size))
end

local function take(bucket, amount, size, period_ms)
  local leak = size / period_ms
  fill(bucket, level_of(bucket, leak) + amount, leak)
end

-- How many whole units a bucket has room for, and the ms until they are one more.
local function room_in(bucket, size, period_ms)
  if size == 0 then return 0, 0 end
  local level = level_of(bucket, size / period_ms)
  if level == 0 then return size, 0 end
  local room = math.max(0, math.floor(size - level))
  return room, math.ceil((level + room + 1 - size) * period_ms / size)
end

-- Counts an upload as `bytes`, at most its owner's whole quota, instead of what it counted as before.
local function recharge(id, bytes)
  local charged, bucket = redis.call('HGET', record(id), 'charged'), quota(owner_of(id))
  if not charged then return end
  local level, leak = level_of(bucket)
  bytes = math.min(bytes, leak * DAY_MS)
  level = math.max(0, level + bytes - charged)
  if leak == 0 or level == 0 then redis.call('DEL', bucket) else fill(bucket, level, leak) end
  redis.call('HSET', record(id), 'charged', bytes)
end

-- What an upload of so many bytes counts as: no less than its record, which may be larger.
local function price(id, bytes)
  local record_bytes = 0
  for _, part in ipairs(redis.call('HGETALL', record(id))) do record_bytes = record_bytes + #part end
  return math.max(LEAST_BYTES, bytes, record_bytes)
end

-- Counts an upload without an original as its record alone.
local function refund(id)
  if redis.call('HEXISTS', record(id), 'charged') == 0 then return end
  if redis.call('HEXISTS', record(id), 'source') == 0 then recharge(id, price(id, 0)) end
end

-- What an upload of so many bytes counts as in its owner's quota: at most the whole of it.
local function counted(id, bytes, per_day) return math.min(price(id, bytes), per_day) end

-- The ms until an owner may begin one more upload, or run of a job, of its `per_minute` (0: any number).
local function turn_wait(owner, per_minute)
  return per_minute > 0 and wait_for(rate(owner), 1, per_minute, MINUTE_MS) or 0
end

-- The ms until an owner's `per_day` (0: any number) has room for an upload of so many bytes.
local function bytes_wait(id, owner, bytes, per_day)
  return per_day > 0 and wait_for(quota(owner), counted(id, bytes, per_day), per_day, DAY_MS) or 0
end

-- Counts one more upload, or run of a job, against its owner's rate. What is refused counts for nothing, so that all is
-- checked before anything is counted.
local function take_turn(owner, per_minute)
  if per_minute > 0 then take(rate(owner), 1, per_minute, MINUTE_MS) end
end

-- Counts an upload's bytes against its owner's quota.
local function take_bytes(id, owner, bytes, per_day)
  if per_day == 0 then return end
  local amount = counted(id, bytes, per_day)
  take(quota(owner), amount, per_day, DAY_MS)
  redis.call('HSET', record(id), 'charged', amount)
end

-- Ends an answer with what an owner's limits leave: uploads, the ms until one more, bytes, the ms until one more.
local function with_rest(answer, owner, per_minute, per_day)
  local uploads, upload_ms = room_in(rate(owner), per_minute, MINUTE_MS)
  local bytes, byte_ms = room_in(quota(owner), per_day, DAY_MS)
  for _, value in ipairs({uploads, upload_ms, bytes, byte_ms}) do answer[#answer + 1] = value end
  return answer
end
