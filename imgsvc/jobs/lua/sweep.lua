-- Hands out uploads of which something is to be cleared from storage:
--
--   received by nobody any more   all of it; from here on it can become no job
--   given up, or deleted          all of it
--   its time is up                all of it; a job that still runs is cancelled
--   cancelled                     its files
--
-- Guarantees: nothing is handed out that a client was told is kept. What is handed out, and not said to be swept
-- within `hold_ms`, is handed out again; meanwhile nobody else gets it, and no retry runs into it.
-- Returns {{id, 'all' or 'files'}, …}.
-- ARGV: hold_ms, limit, record_ttl_s
local hold_ms, limit, record_ttl_s = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = now_ms()

local function what_to_clear(id)
  local status, expires_at = unpack(redis.call('HMGET', record(id), 'status', 'expires_at'))
  if status == 'RESERVED' then abort(id) end
  if not is_visible(status) then return 'all' end
  if tonumber(expires_at or math.huge) <= now then
    if not is_terminal(status) then cancel(id, record_ttl_s) end
    unlist(id)
    return 'all'
  end
  return status == 'CANCELLED' and 'files'
end

local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', SWEEP, '-inf', now, 'LIMIT', 0, limit)) do
  local what = what_to_clear(id)
  -- this look is the last one, unless somebody was stopped since
  if not what or tonumber(redis.call('ZSCORE', SETTLING, id) or 0) <= now then redis.call('ZREM', SETTLING, id) end
  if what then
    if is_visible(status_of(id)) then redis.call('HSET', record(id), 'sweeping', 1) end
    redis.call('ZADD', SWEEP, now + hold_ms, id)
    found[#found + 1] = {id, what}
  else
    ack_sweep(id)
  end
end
return found
