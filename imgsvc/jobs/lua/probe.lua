-- Tries each right that the other scripts need: every command, every kind of key to read and to write, every channel.
-- Redis checks rights call by call, so that a script that lacks one would stop half way.
-- Guarantees: leaves nothing, and no reader sees anything of it; a full Redis is not a failure.
-- Returns {command, key or channel or '', error} of the first call that is denied, or nothing.
local NOBODY = '.probe'
local RECORD, BUCKET = record(NOBODY), quota(NOBODY)
local LIST = list(NOBODY, NOBODY)
local COUNTS, BULK_ACTION = PREFIX .. 'minute:' .. NOBODY, PREFIX .. 'bulk:' .. NOBODY

local rights = {
  {'TIME'},
  {'DEL', RECORD},  -- first, since what follows is removed by it
  {'HGET', RECORD, 'status'}, {'HMGET', RECORD, 'status'}, {'HGETALL', RECORD}, {'HEXISTS', RECORD, 'status'},
  {'HDEL', RECORD, 'status'}, {'EXISTS', RECORD}, {'EXPIRE', RECORD, 60}, {'PEXPIRE', RECORD, 60000},
  {'PERSIST', RECORD},
  {'GET', idempotency(NOBODY)}, {'SET', idempotency(NOBODY), '', 'XX'}, {'DEL', idempotency(NOBODY)},
  {'GET', tombstone(NOBODY)}, {'SET', tombstone(NOBODY), '', 'XX'}, {'PTTL', tombstone(NOBODY)},
  {'GET', token(NOBODY)}, {'SET', token(NOBODY), '', 'XX'}, {'DEL', token(NOBODY)},
  {'HGETALL', transfer(NOBODY)}, {'DEL', transfer(NOBODY)},
  {'HGET', owners_limits(NOBODY), NOBODY}, {'HDEL', owners_limits(NOBODY), NOBODY},
  {'HMGET', BUCKET, 'level'}, {'DEL', BUCKET}, {'HMGET', rate(NOBODY), 'level'}, {'DEL', rate(NOBODY)},
  {'ZCARD', LIST}, {'ZCOUNT', LIST, 0, 0}, {'ZREVRANGE', LIST, 0, 0}, {'ZREVRANGEBYSCORE', LIST, 0, 0},
  {'ZREMRANGEBYSCORE', LIST, 0, 0}, {'ZRANGE', LIST, 0, 0}, {'ZPOPMIN', LIST},
  {'HDEL', SHARES, NOBODY}, {'HMGET', pause(NOBODY), NOBODY}, {'DEL', pause(NOBODY)},
  {'LRANGE', attempts(NOBODY), 0, 0}, {'LTRIM', attempts(NOBODY), 0, 0}, {'DEL', attempts(NOBODY)},
  {'HGETALL', COUNTS}, {'DEL', COUNTS}, {'HMGET', BULK_ACTION, 'state'}, {'DEL', BULK_ACTION},
  {'PUBLISH', DOORBELL, NOBODY}, {'PUBLISH', FETCH_DOORBELL, NOBODY}, {'PUBLISH', REVOKED, NOBODY},
  {'PUBLISH', EVENTS, NOBODY}, {'PUBLISH', ECHO, NOBODY},
}
local LINE = line(NORMAL, NOBODY)
local sets = {
  WAITING, LINE, turns(NORMAL), turns(LOW), rested(NORMAL), rested(LOW), running(NOBODY), PARKED, QUEUE, DERIVATIONS,
  SWEEP, SETTLING, OBSOLETE, receiving(NOBODY),
  FETCHES, FETCHES_WAITING, fetch_line(FETCH, NOBODY, NOBODY), fetch_hosts(FETCH, NOBODY), turns(FETCH), rested(FETCH),
  WEBHOOKS[OWN], WEBHOOKS[DERIVED], WORKERS, LIST, DELIVERIES.delayed, DELIVERIES.waiting, DELIVERIES.owners,
  DELIVERIES.paused, hosts(NOBODY), deliveries_to(NOBODY),
  ALL, UNSUCCESSFUL.FAILURE, UNSUCCESSFUL.CANCELLED, BULK, PREFIX .. 'bulks',
}
for _, set in ipairs(sets) do
  rights[#rights + 1] = {'ZRANGEBYSCORE', set, 0, 0, 'LIMIT', 0, 1}
  rights[#rights + 1] = {'ZSCORE', set, NOBODY}
  rights[#rights + 1] = {'ZADD', set, 'XX', 0, NOBODY}
  rights[#rights + 1] = {'ZREM', set, NOBODY}
end
local creating = {
  {'HSET', RECORD, 'status', NOBODY}, {'HSETNX', RECORD, 'status', NOBODY}, {'HINCRBY', RECORD, 'attempt', 1},
  {'RPUSH', RECORD, NOBODY},  -- it is no list
}

-- The error with which Redis denies a call, or nil.
local function denial(right)
  local answer = redis.pcall(unpack(right))
  local err = type(answer) == 'table' and answer.err
  if not err then return nil end
  local denied = err:find('NOPERM') or err:find('ACL failure') or err:find('The user executing the script')
  return denied and {right[1], right[2] or '', err}
end

local function first_denied(tried)
  for _, right in ipairs(tried) do
    local denied = denial(right)
    if denied then return denied end
  end
end

local denied = first_denied(rights)
if denied then return denied end
denied = first_denied(creating)
redis.pcall('DEL', RECORD)  -- a replica refuses it
return denied
