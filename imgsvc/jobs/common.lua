-- What every script here shares; it is put in front of each of them.
--
-- imgsvc:upload:<id>  hash  the record of an upload (record.py)
-- imgsvc:reserved     zset  uploads begun and not yet submitted, by the ms at which they began
-- imgsvc:queue        zset  jobs, by the ms at which they are due; a leased job is due when its lease lapses,
--                           so that the job of a dead worker comes back by itself
-- imgsvc:workers      zset  workers, by the ms until which they count as alive
-- imgsvc:deleted:<id> str   tombstone of a deleted upload
-- arq:job:<id>        str   arq's job body;  arq:retry:<id>  arq's own counter
--
-- Time is the server's, so that no worker's clock matters. Ids are part of key names that are not declared
-- in KEYS: all keys live on one primary (Redis Cluster is not supported).

local QUEUE, RESERVED, WORKERS = 'imgsvc:queue', 'imgsvc:reserved', 'imgsvc:workers'
local DOORBELL, REVOKED = 'imgsvc:doorbell', 'imgsvc:revoked'

local function record(id) return 'imgsvc:upload:' .. id end
local function tombstone(id) return 'imgsvc:deleted:' .. id end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function unqueue(id)
  redis.call('ZREM', QUEUE, id)
  redis.call('DEL', 'arq:job:' .. id, 'arq:retry:' .. id)
end

-- The token that a claim handed out still owns the job. It no longer does once another worker has claimed
-- the job after it, or the job has ended, or the upload was deleted.
local function owns(id, token)
  return redis.call('HGET', record(id), 'owner') == token
end

-- Ends a job for good: record, lease and queue entry together.
local function finish(id, status, field, value, ttl_s)
  redis.call('HSET', record(id), 'status', status, 'progress', 100, 'finished_at', now_ms(), field, value)
  redis.call('HDEL', record(id), 'owner', 'step', 'deliveries')
  redis.call('EXPIRE', record(id), ttl_s)
  unqueue(id)
end
