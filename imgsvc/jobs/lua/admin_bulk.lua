-- What the scripts of bulk actions share.

local BULKS = PREFIX .. 'bulks'
local MOST_KEPT = 50

local function bulk(id) return PREFIX .. 'bulk:' .. id end

-- Whether a worker may go on with a bulk action: it is under way, and nobody else has taken it since.
local function holds(id, holder)
  local state, held_by = unpack(redis.call('HMGET', bulk(id), 'state', 'holder'))
  return state == 'RUNNING' and held_by == holder
end

local function end_bulk(id, state, ttl_s)
  redis.call('ZREM', BULK, id)
  redis.call('HDEL', bulk(id), 'holder', 'waiting_for')
  redis.call('HSET', bulk(id), 'state', state, 'finished_at', now_ms())
  redis.call('EXPIRE', bulk(id), ttl_s)
end
