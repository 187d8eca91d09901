-- Claims uploads with objects to be removed from storage:
--
--   reservation not extended      all; it can no longer become a job. The try of an upload token is given up instead
--   given up, or deleted          all
--   expired                       all; a job that still runs is cancelled
--   cancelled                     its files
--   failed or cancelled           all, unless its original has been stored: some of it may have been
--
-- Guarantees: no object is removed that a client was promised. An upload that is not acknowledged within `hold_ms` is
-- claimed again; until then no other sweeper gets it, and it cannot be retried.
-- Returns {{id, 'all' or 'files'}, …}.
-- ARGV: hold_ms, limit, record_ttl_s
local hold_ms, limit, record_ttl_s = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = now_ms()

local function what_to_clear(id)
  local status, expires_at = unpack(redis.call('HMGET', record(id), 'status', 'expires_at'))
  if status == 'RESERVED' then
    if redis.call('HEXISTS', record(id), 'original') == 1 then
      give_up_try(id)
      return nil
    end
    abort(id)
  end
  if not is_visible(status) then return 'all' end
  if tonumber(expires_at or math.huge) <= now then
    if not has_ended(id) then cancel(id, record_ttl_s) end
    unlist(id)
    return 'all'
  end
  if RETRYABLE[status] and needs_fetch(id) then return 'all' end
  return status == 'CANCELLED' and 'files'
end

local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', SWEEP, '-inf', now, 'LIMIT', 0, limit)) do
  local what = what_to_clear(id)
  -- this is the last look, unless another process was stopped since
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
