-- Leases fetches to a worker, those of each owner in turn, as far as it has room for them (fetches.lua).
-- Guarantees: as claim.lua for jobs. A fetch and what is made of its original are one attempt, unless that is repeated.
-- Returns {{{id, token, token of the lapsed lease or '', id of the request that queued it or '', owner, host}, …}, {ids
-- of jobs that it ended, …}}.
-- ARGV: worker, lease_ms, places (fetches that it does at once), max_deliveries, failure (JSON), record_ttl_s, then
-- owner and host of each fetch that it is at
local worker, lease_ms, places, max_deliveries = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
local MOST_DUE = 100  -- that a claim looks at, besides one for each place

local given_up = {}

-- Whether a fetch whose time has come can be claimed now; settles those that cannot.
local function is_ready(id)
  if has_ended(id) or not needs_fetch(id) then
    redis.call('ZREM', FETCHES, id)  -- an entry without a fetch
    return false
  end
  local lapsed = lease_of(id)
  if not lapsed then return true end
  local is_due, has_failed = lapse(id, FETCHES, lapsed, max_deliveries, ARGV[5], ARGV[6])
  if has_failed then given_up[#given_up + 1] = id end
  return is_due
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', FETCHES, '-inf', now, 'LIMIT', 0, MOST_DUE + places)) do
  if is_ready(id) then
    redis.call('ZREM', FETCHES, id)
    wait_for_fetch(id)
  end
end

local claims = {}
local room = room_of(places, {unpack(ARGV, 7)})
while room.free > 0 do
  local id, owner, host = next_fetch(room)
  if not id then break end
  if not has_ended(id) and needs_fetch(id) then
    room.take(owner, host)
    local lapsed = take_over(id)
    local token = worker .. ':f:' .. redis.call('HINCRBY', record(id), 'attempt', 1)
    redis.call('HINCRBY', record(id), 'deliveries', 1)
    redis.call('HSETNX', record(id), 'started_at', now)
    move(id, 'PROGRESS')
    redis.call('HSET', record(id), 'lease', token)
    redis.call('ZADD', FETCHES, now + lease_ms, id)
    local request_id = redis.call('HGET', record(id), 'request_id')
    claims[#claims + 1] = {id, token, lapsed, request_id or '', owner, host}
  end
end
return {claims, given_up}
