-- What all scripts here share; it is prepended to each of them. Guarantees nothing by itself. Each call ends with two
-- arguments for this part: the prefix of all keys and channels (imgsvc: unless set otherwise), and for how many ms a
-- process that was asked to stop may still write to storage.
--
-- imgsvc:upload:<id>  hash  the record of an upload (record.py)
-- imgsvc:jobs         zset  jobs, by the ms at which they are due; a leased job is due when its lease lapses,
--                           so that the job of a dead worker comes back by itself
-- imgsvc:queue        zset  the same of versions before 0.1.0 (adopt)
-- imgsvc:sweep        zset  uploads that the sweeper must look at, by the ms from which it may. What it clears
--                           follows from the record at that time (sweep.lua)
-- imgsvc:settling     zset  uploads to which a process may still write objects to be removed, by the ms until which
-- imgsvc:webhooks     zset  uploads with a webhook delivery to be made, by the ms at which it is due
-- imgsvc:list:<status>:<owner>
--                     zset  an owner's uploads of that status, by the ms at which they were submitted
-- imgsvc:workers      zset  workers, by the ms until which they count as alive; and without a name, negative so that
--                           it counts as none, the ms at which the clock was seen last (now_ms)
-- imgsvc:key:<hash>   str   the upload that an Idempotency-Key stands for
-- imgsvc:deleted:<id> str   tombstone of a deleted upload: its owner
-- imgsvc:rate:<owner> hash  how many uploads an owner has begun lately, and imgsvc:quota:<owner> how many bytes:
--                           leaky buckets (take)
--
-- Time is the server's, so that no worker's clock matters. Ids are part of key names that are not declared
-- in KEYS: all keys live on one primary (Redis Cluster is not supported).

local SETTLE_MS = tonumber(table.remove(ARGV))
local PREFIX = table.remove(ARGV)
local QUEUE, EARLIER_QUEUE = PREFIX .. 'jobs', PREFIX .. 'queue'
local SWEEP, SETTLING = PREFIX .. 'sweep', PREFIX .. 'settling'
local WORKERS, WEBHOOKS = PREFIX .. 'workers', PREFIX .. 'webhooks'
local DOORBELL, REVOKED = PREFIX .. 'doorbell', PREFIX .. 'revoked'
local EVENTS, ECHO = PREFIX .. 'events', PREFIX .. 'echo'
local CLOCK = ''  -- a member of WORKERS
-- Statuses, as in domain/states.py; readers see no upload whose status is HIDDEN.
local TERMINAL = {SUCCESS = true, FAILURE = true, CANCELLED = true}
local RETRYABLE = {FAILURE = true, CANCELLED = true}
local HIDDEN = {RESERVED = true, ABANDONED = true}
local FIRST_LOOK_MS = 2000  -- most that is written late is there by then
local JUMP_MS = 20000  -- fewer than a reservation has left at any time
local GRACE_MS = 60000
local HORIZON_MS = 600000
local LEAST_BYTES = 4096  -- what a record counts as in its owner's quota, at least
local DAY_MS = 86400000

local function record(id) return PREFIX .. 'upload:' .. id end
local function tombstone(id) return PREFIX .. 'deleted:' .. id end
local function idempotency(key) return PREFIX .. 'key:' .. key end

-- Moves what is due from `from_ms` to `to_ms` by `by_ms`, but to no later than `latest_ms`.
local function shift(set, from_ms, to_ms, by_ms, latest_ms)
  local rows = redis.call('ZRANGEBYSCORE', set, from_ms, to_ms, 'WITHSCORES')
  for at = 1, #rows, 2 do
    redis.call('ZADD', set, math.min(rows[at + 1] + by_ms, latest_ms or math.huge), rows[at])
  end
end

local function note_time(now) return redis.pcall('ZADD', WORKERS, -now, CLOCK) end

-- The clock was set back: delays are kept, and what was due still is. What is due much later in SWEEP has a
-- time of day of its own, and there may be very many.
local function set_back(seen, now)
  local by_ms = now - seen
  for _, set in ipairs({QUEUE, EARLIER_QUEUE, WEBHOOKS, SETTLING}) do shift(set, '-inf', '+inf', by_ms) end
  shift(WORKERS, '(0', '+inf', by_ms)
  shift(SWEEP, '-inf', seen + HORIZON_MS, by_ms)
end

-- The clock was set forward, or Redis could not be called for long: leases and reservations that their holders could
-- not renew keep the time that they had left.
local function set_forward(seen, now)
  local from_ms = '(' .. seen + 1000
  shift(QUEUE, from_ms, now, now - seen)
  shift(EARLIER_QUEUE, from_ms, now, now - seen)
  shift(SWEEP, from_ms, now, now - seen, now + GRACE_MS)
end

local clock

-- The server's time in ms, the same throughout a script. It is noted about once a second. If it is earlier than the one
-- that was noted last, the server's clock was set back, and all that waits for a time is moved with it: what was due is
-- due, or within that second, however often and far the clock moves; and a job without delay is due at once (enqueue).
local function now_ms()
  if clock then return clock end
  local time = redis.call('TIME')
  clock = time[1] * 1000 + math.floor(time[2] / 1000)
  local seen = -(redis.call('ZSCORE', WORKERS, CLOCK) or 0)
  if seen <= clock and clock <= seen + 1000 then return clock end
  local noted = note_time(clock)
  if type(noted) == 'table' and noted.err then return clock end  -- its memory is full: another time
  if seen > clock then set_back(seen, clock) end
  if seen > 0 and clock > seen + JUMP_MS then set_forward(seen, clock) end
  return clock
end

local function status_of(id) return redis.call('HGET', record(id), 'status') end

-- Versions before 0.1.0 kept the owner's name in `belongs_to`, and in `owner` the token of the lease. Tokens have a
-- colon, names of owners cannot. To be dropped with the version after 0.1.0: such records have expired by then.
local function is_token(value) return value and value:find(':', 1, true) end

-- The owner of an upload: the name of its API key, '' where the API is open.
local function owner_of(id)
  local owner, earlier = unpack(redis.call('HMGET', record(id), 'owner', 'belongs_to'))
  return owner and not is_token(owner) and owner or earlier or ''
end

-- The token of the lease on an upload's job, nil where it has none. Tokens end with the number of the attempt; of an
-- earlier one was left by a version before 0.1.0.
local function lease_of(id)
  local fields = redis.call('HMGET', record(id), 'status', 'attempt', 'lease', 'owner')
  local status, attempt, lease, earlier = unpack(fields)
  if status ~= 'PROGRESS' then return nil end
  for _, token in ipairs({lease or '', is_token(earlier) and earlier or ''}) do
    if token:match(':(%d+)$') == attempt then return token end
  end
end

local function drop_lease(id)
  redis.call('HDEL', record(id), 'lease')
  if is_token(redis.call('HGET', record(id), 'owner')) then redis.call('HDEL', record(id), 'owner') end
end

-- Whether readers see an upload of this status.
local function is_visible(status) return status and not HIDDEN[status] end

local function is_terminal(status) return TERMINAL[status] end

local function enqueue(id)
  redis.call('ZADD', QUEUE, now_ms(), id)
  note_time(now_ms())  -- to the ms: no job that waits is later than the time noted last
  redis.call('PUBLISH', DOORBELL, '')
end

local function unqueue(id)
  redis.call('ZREM', QUEUE, id)
  redis.call('ZREM', EARLIER_QUEUE, id)
end

-- How many jobs have not ended.
local function queued() return redis.call('ZCARD', QUEUE) + redis.call('ZCARD', EARLIER_QUEUE) end

-- Has the sweeper look at an upload at `at_ms`, or earlier where it would anyway.
local function sweep_at(id, at_ms)
  redis.call('ZADD', SWEEP, 'LT', at_ms, id)
end

-- Has the sweeper look at an upload soon, and again until no process can write to it any more: S3 may complete a put
-- long after its sender was asked to stop.
local function settle(id)
  sweep_at(id, now_ms() + FIRST_LOOK_MS)
  redis.call('ZADD', SETTLING, now_ms() + SETTLE_MS, id)
end

local function list(status, owner) return PREFIX .. 'list:' .. status .. ':' .. owner end

-- Has all followers of an upload read its record again.
local function notify(id) redis.call('PUBLISH', EVENTS, id) end

local function unlist(id)
  local status = status_of(id)
  if status then redis.call('ZREM', list(status, owner_of(id)), id) end
end

-- Moves an upload to a status, which it may have already: in its record, on its owner's lists, and for all who follow
-- it. Returns the list that it is on now.
local function move(id, status)
  local before, created_at = unpack(redis.call('HMGET', record(id), 'status', 'created_at'))
  local owner = owner_of(id)
  local now_on = list(status, owner)
  redis.call('ZREM', list(before, owner), id)
  redis.call('HSET', record(id), 'status', status)
  redis.call('ZADD', now_on, created_at, id)
  notify(id)
  return now_on
end

-- Drops from a list of ended jobs those whose records have expired since; it expires itself with the last of them.
local function trim(ended, ttl_s)
  local before = now_ms() - 1000 * ttl_s
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', ended, '-inf', before, 'LIMIT', 0, 100)) do
    if redis.call('EXISTS', record(id)) == 0 then redis.call('ZREM', ended, id) end
  end
  redis.call('EXPIRE', ended, ttl_s)
end

-- Whether a token still holds the job's lease. It no longer does once another worker has claimed the job, the job has
-- ended, or the upload was deleted.
local function owns(id, token) return lease_of(id) == token end

-- Turns away a worker that has lost its lease. If its files are to be removed, it may have stored some after the others
-- were.
local function fence(id)
  local status = status_of(id)
  if not is_visible(status) or is_terminal(status) then unqueue(id) end
  -- an unknown upload, too: it was deleted, or Redis was emptied; an expiring record outlives late writers by days
  if not is_visible(status) or status == 'CANCELLED' then settle(id) end
  return 0
end

-- Queues the delivery of a job's end to its upload's webhook, if it has one.
local function queue_webhook(id)
  if redis.call('HEXISTS', record(id), 'webhook') == 0 then return end
  local now = now_ms()
  redis.call('HSET', record(id), 'webhook_state', 'pending', 'webhook_next', now)
  redis.call('ZADD', WEBHOOKS, now, id)
end

-- Drops the delivery of an end: the job is run again, or the upload is deleted.
local function drop_webhook(id)
  redis.call('ZREM', WEBHOOKS, id)
  redis.call('HDEL', record(id), 'webhook_state', 'webhook_attempts', 'webhook_next', 'webhook_last')
end

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

-- Ends a job for good: record, lease, queue entry and webhook delivery together. It begins with what frees memory,
-- since from then on a Redis that is full lets a script write.
local function finish(id, status, ttl_s)
  unqueue(id)
  drop_lease(id)
  redis.call('HDEL', record(id), 'step', 'deliveries', 'request_id')
  refund(id)
  redis.call('HSET', record(id), 'finished_at', now_ms())
  local ended = move(id, status)
  redis.call('EXPIRE', record(id), ttl_s)
  trim(ended, ttl_s)
  queue_webhook(id)
end

-- Cancels a job, and notifies the worker that runs it.
local function cancel(id, ttl_s)
  local has_begun = redis.call('HEXISTS', record(id), 'attempt') == 1
  finish(id, 'CANCELLED', ttl_s)
  if has_begun then settle(id) end
  redis.call('PUBLISH', REVOKED, id)
end

local function free_idempotency_key(id)
  local key = redis.call('HGET', record(id), 'key')
  if key and redis.call('GET', idempotency(key)) == id then redis.call('DEL', idempotency(key)) end
end

-- Makes sure that an upload never becomes a job, and stops the one that it may have become. It stays recorded
-- until its objects are gone from storage.
local function abort(id)
  free_idempotency_key(id)
  unqueue(id)
  drop_webhook(id)
  recharge(id, 0)
  unlist(id)
  redis.call('DEL', record(id))
  redis.call('HSET', record(id), 'status', 'ABANDONED')
  notify(id)
  redis.call('PUBLISH', REVOKED, id)
  sweep_at(id, now_ms() + FIRST_LOOK_MS)
end

-- The ms from which the sweeper must look at an upload again, if ever.
local function next_look(id)
  local now, settled_at = now_ms(), redis.call('ZSCORE', SETTLING, id)
  if settled_at then  -- after twice the time that it has been settling
    return math.max(now + FIRST_LOOK_MS, math.min(tonumber(settled_at), now + 2 * (now + SETTLE_MS - settled_at)))
  end
  local expires_at = tonumber(redis.call('HGET', record(id), 'expires_at') or 0)
  if expires_at > now then return expires_at end
  local deleted_ms = redis.call('PTTL', tombstone(id))
  return deleted_ms > 0 and now + deleted_ms
end

-- An upload's objects have been removed. The sweeper looks again while a process may still write to it.
local function ack_sweep(id)
  local at_ms = next_look(id)
  redis.call('HDEL', record(id), 'sweeping')
  if at_ms then redis.call('ZADD', SWEEP, at_ms, id) else redis.call('ZREM', SWEEP, id) end
  if status_of(id) == 'ABANDONED' and not redis.call('ZSCORE', SETTLING, id) then redis.call('DEL', record(id)) end
end
