-- What every script here shares; it is put in front of each of them.
--
-- imgsvc:upload:<id>  hash  the record of an upload (record.py)
-- imgsvc:queue        zset  jobs, by the ms at which they are due; a leased job is due when its lease lapses,
--                           so that the job of a dead worker comes back by itself
-- imgsvc:sweep        zset  uploads that the sweeper must look at, by the ms from which it may. What it clears
--                           follows from the record at that time (sweep.lua)
-- imgsvc:webhooks     zset  uploads whose end their webhook has yet to be told, by the ms at which that is due
-- imgsvc:list:<status>:<owner>
--                     zset  an owner's uploads of that status, by the ms at which they were submitted
-- imgsvc:workers      zset  workers, by the ms until which they count as alive
-- imgsvc:key:<hash>   str   the upload that an Idempotency-Key stands for
-- imgsvc:deleted:<id> str   tombstone of a deleted upload: whose it was
-- imgsvc:rate:<owner> hash  how many uploads an owner has begun lately, and imgsvc:quota:<owner> how many bytes:
--                           buckets that leak (pour)
-- arq:job:<id>        str   arq's job body;  arq:retry:<id>  arq's own counter
--
-- Time is the server's, so that no worker's clock matters. Ids are part of key names that are not declared
-- in KEYS: all keys live on one primary (Redis Cluster is not supported).

local QUEUE, SWEEP, WORKERS = 'imgsvc:queue', 'imgsvc:sweep', 'imgsvc:workers'
local WEBHOOKS = 'imgsvc:webhooks'
local DOORBELL, REVOKED, EVENTS = 'imgsvc:doorbell', 'imgsvc:revoked', 'imgsvc:events'
local SETTLE_MS = 2000  -- storage may still finish a put this much after its sender has gone

local function record(id) return 'imgsvc:upload:' .. id end
local function tombstone(id) return 'imgsvc:deleted:' .. id end
local function idempotency(key) return 'imgsvc:key:' .. key end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function status_of(id) return redis.call('HGET', record(id), 'status') end

-- Whose upload it is: the name of its key, '' where the API is open. (The field `owner` is a job's, for a while.)
local function belongs_to(id) return redis.call('HGET', record(id), 'belongs_to') or '' end

-- Whether readers see an upload of this status.
local function is_visible(status)
  return status and status ~= 'RESERVED' and status ~= 'ABANDONED'
end

local function is_terminal(status)
  return status == 'SUCCESS' or status == 'FAILURE' or status == 'CANCELLED'
end

local function enqueue(id, body)
  redis.call('SET', 'arq:job:' .. id, body)
  redis.call('ZADD', QUEUE, now_ms(), id)
  redis.call('PUBLISH', DOORBELL, '')
end

local function unqueue(id)
  redis.call('ZREM', QUEUE, id)
  redis.call('DEL', 'arq:job:' .. id, 'arq:retry:' .. id)
end

-- Has the sweeper look at an upload at `at_ms`, or earlier where it would anyway.
local function sweep_at(id, at_ms)
  redis.call('ZADD', SWEEP, 'LT', at_ms, id)
end

local function list(status, owner) return 'imgsvc:list:' .. status .. ':' .. owner end

-- Has all who follow an upload read its record again.
local function tell(id) redis.call('PUBLISH', EVENTS, id) end

local function unlist(id)
  local status, owner = unpack(redis.call('HMGET', record(id), 'status', 'belongs_to'))
  if status then redis.call('ZREM', list(status, owner or ''), id) end
end

-- Moves an upload to a status, which it may have already: in its record, on its owner's lists, and for all who follow
-- it. Returns the list that it is on now.
local function move(id, status)
  local before, owner, created_at = unpack(redis.call('HMGET', record(id), 'status', 'belongs_to', 'created_at'))
  local now_on = list(status, owner or '')
  redis.call('ZREM', list(before, owner or ''), id)
  redis.call('HSET', record(id), 'status', status)
  redis.call('ZADD', now_on, created_at, id)
  tell(id)
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

-- The token that a claim handed out still owns the job. It no longer does once another worker has claimed
-- the job after it, or the job has ended, or the upload was deleted.
local function owns(id, token)
  return redis.call('HGET', record(id), 'owner') == token
end

-- Turns away an owner that was overtaken. Where nothing may be left of its work, it may have stored some after
-- the rest was cleared.
local function fence(id)
  local status = status_of(id)
  if not is_visible(status) or is_terminal(status) then unqueue(id) end
  -- of what is unknown, too: it was deleted, or Redis was emptied; a record that expires outlives its stragglers by days
  if not is_visible(status) or status == 'CANCELLED' then sweep_at(id, now_ms() + SETTLE_MS) end
  return 0
end

-- Has a job's end told to its upload's webhook, where it has one.
local function announce(id)
  if redis.call('HEXISTS', record(id), 'webhook') == 0 then return end
  local now = now_ms()
  redis.call('HSET', record(id), 'webhook_state', 'pending', 'webhook_next', now)
  redis.call('ZADD', WEBHOOKS, now, id)
end

-- Stops telling of an end: the job begins anew, or nothing is to be known of the upload any more.
local function unannounce(id)
  redis.call('ZREM', WEBHOOKS, id)
  redis.call('HDEL', record(id), 'webhook_state', 'webhook_attempts', 'webhook_next', 'webhook_last')
end

local function rate(owner) return 'imgsvc:rate:' .. owner end
local function quota(owner) return 'imgsvc:quota:' .. owner end

-- Has an upload count as `bytes`, in place of what it counted as until now.
local function recharge(id, bytes)
  local charged, bucket = redis.call('HGET', record(id), 'charged'), quota(belongs_to(id))
  if not charged then return end
  if redis.call('EXISTS', bucket) == 1 then redis.call('HINCRBYFLOAT', bucket, 'level', bytes - charged) end
  redis.call('HSET', record(id), 'charged', bytes)
end

-- Has an upload count for nothing whose original was never had.
local function give_back(id)
  if redis.call('HEXISTS', record(id), 'source') == 0 then recharge(id, 0) end
end

-- Ends a job for good: record, lease, queue entry and webhook delivery together. It begins with what frees memory,
-- since from then on a Redis that is full lets a script write.
local function finish(id, status, ttl_s)
  unqueue(id)
  redis.call('HDEL', record(id), 'owner', 'step', 'deliveries')
  give_back(id)
  redis.call('HSET', record(id), 'finished_at', now_ms())
  local ended = move(id, status)
  redis.call('EXPIRE', record(id), ttl_s)
  trim(ended, ttl_s)
  announce(id)
end

-- Ends a job that is not to be done any more, and tells the worker that has it.
local function cancel(id, ttl_s)
  finish(id, 'CANCELLED', ttl_s)
  redis.call('PUBLISH', REVOKED, id)
end

-- Pours `amount` into a bucket that holds `size` and leaks as much in `period_ms`. Returns the ms until there will be
-- room for it, 0 where there was.
local function pour(bucket, amount, size, period_ms)
  local now = now_ms()
  local level, at = unpack(redis.call('HMGET', bucket, 'level', 'at'))
  level = math.max(0, tonumber(level or 0) - (now - tonumber(at or now)) * size / period_ms)
  if level + amount > size then return math.ceil((level + amount - size) * period_ms / size) end
  level = level + amount
  redis.call('HSET', bucket, 'level', level, 'at', now)
  redis.call('PEXPIRE', bucket, math.ceil(level * period_ms / size) + 1)
  return 0
end

local function free_idempotency_key(id)
  local key = redis.call('HGET', record(id), 'key')
  if key and redis.call('GET', idempotency(key)) == id then redis.call('DEL', idempotency(key)) end
end

-- Makes sure that an upload never becomes a job, and stops the one that it may have become. It stays known until
-- its objects are gone from storage.
local function abandon(id)
  free_idempotency_key(id)
  unqueue(id)
  unannounce(id)
  recharge(id, 0)
  unlist(id)
  redis.call('DEL', record(id))
  redis.call('HSET', record(id), 'status', 'ABANDONED')
  tell(id)
  redis.call('PUBLISH', REVOKED, id)
  sweep_at(id, now_ms() + SETTLE_MS)
end

-- What there was to clear of an upload is cleared.
local function swept(id)
  if status_of(id) == 'ABANDONED' then redis.call('DEL', record(id)) end
  redis.call('HDEL', record(id), 'sweeping')
  local expires_at = tonumber(redis.call('HGET', record(id), 'expires_at') or 0)
  if expires_at > now_ms() then
    redis.call('ZADD', SWEEP, expires_at, id)
  else
    redis.call('ZREM', SWEEP, id)
  end
end
