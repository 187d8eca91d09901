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

-- Takes `amount` of a bucket that holds `size` and leaks as much in `period_ms`. Returns the ms until there is room for
-- it, 0 if it was taken.
local function take(bucket, amount, size, period_ms)
  local leak = size / period_ms
  local level = level_of(bucket, leak)
  if level + amount > size then return math.ceil((level + amount - size) / leak) end
  fill(bucket, level + amount, leak)
  return 0
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

-- Counts one more beginning, of an upload or a retry, against its owner's `per_minute` (0: any number). Returns the ms
-- to wait where there are too many, 0 where it is counted.
local function take_turn(owner, per_minute)
  return per_minute > 0 and take(rate(owner), 1, per_minute, 60000) or 0
end

-- Counts an upload's bytes against its owner's `per_day` (0: any number). Returns as take_turn does.
local function take_bytes(id, owner, bytes, per_day)
  if per_day == 0 then return 0 end
  local counted = math.min(price(id, bytes), per_day)
  local wait_ms = take(quota(owner), counted, per_day, DAY_MS)
  if wait_ms == 0 then redis.call('HSET', record(id), 'charged', counted) end
  return wait_ms
end
