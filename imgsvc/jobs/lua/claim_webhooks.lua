-- Claims webhook deliveries that are due, those of each owner in turn (deliveries.lua).
-- Guarantees: a delivery is queued in the same step as the end of its job, so that none is lost. A delivery that is not
-- acknowledged within `hold_ms` is due again, since its worker has died: a receiver gets each end at least once, and
-- rarely twice, under the same id. Until then no other worker gets it. No owner has more than three quarters of a
-- worker's slots while it is alone, and no host more than half: of those that are free, an owner may have three times
-- as many in use, and a host as many. So the next owner to come finds some, however many others there are. A delivery
-- that waits for a paused host is no attempt; after `patience_ms` in which the host has not answered, it is given up.
-- Deliveries have a queue of their own, so that a slow receiver takes no decoder's slot, and a delivery that waits for
-- hours does not count as a queued job.
-- One call claims no more than a few of them, so that it holds up no other for long.
-- Returns {{{id, end (ms), attempt, 1 if a derivation has ended, owner, host}, …}, {ids of given up deliveries, …}, 1
-- if there may be more}.
-- ARGV: hold_ms, slots that are free, patience_ms, then of each owner and host to which this worker is delivering:
-- 'owner' or 'host', its name, how many slots it uses
local hold_ms, free, patience_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
local MOST_CLAIMED = 16
local MOST_DUE = 200  -- that become due in one call, of each kind
local MOST_BLOCKED = 100  -- owners, or hosts of one, that are looked at in vain
local OWNERS_SHARE, HOSTS_SHARE = 3, 1  -- of what is free
local used, given_up = {owner = {}, host = {}}, {}
for at = 4, #ARGV, 3 do used[ARGV[at]][ARGV[at + 1]] = tonumber(ARGV[at + 2]) end

local function parts(member)
  local id = member:match('^' .. DERIVED .. '(.*)')
  return id or member, id and DERIVED or OWN
end

local function due(set) return redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, MOST_DUE) end

-- Takes over what versions before 0.1.0 have queued. Their workers see nothing of this version's deliveries, since they
-- would sign them with a key that is not their owner's.
local function adopt()
  for _, job in ipairs({OWN, DERIVED}) do
    for _, id in ipairs(due(WEBHOOKS[job])) do
      redis.call('ZREM', WEBHOOKS[job], id)
      local is_known = redis.call('ZSCORE', DELIVERIES.delayed, job .. id)
      if not is_known and not redis.call('ZSCORE', DELIVERIES.waiting, job .. id) then deliver(id, job) end
    end
  end
end

-- Returns whether more are due.
local function end_delays()
  local delayed = due(DELIVERIES.delayed)
  for _, member in ipairs(delayed) do deliver(parts(member)) end
  for _, route in ipairs(due(DELIVERIES.paused)) do
    redis.call('ZREM', DELIVERIES.paused, route)
    if redis.call('EXISTS', deliveries_to(route)) == 1 then join_ring(route:match('^(%S*) (.*)')) end
  end
  return #delayed == MOST_DUE
end

-- Gives up what has waited for too long for a host that does not answer.
local function give_up(route)
  local before = now - patience_ms
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', deliveries_to(route), '-inf', before, 'LIMIT', 0, MOST_DUE)) do
    local id, job = parts(member)
    redis.call('ZREM', deliveries_to(route), member)
    if redis.call('ZREM', DELIVERIES.waiting, member) == 1 and redis.call('EXISTS', record(id)) == 1 then
      redis.call('HSET', record(id), job .. 'webhook_state', 'gave_up')
      redis.call('HDEL', record(id), job .. 'webhook_next')
      given_up[#given_up + 1] = id
    end
  end
end

-- Takes the first delivery out of a line, nil where there is none.
local function first_in(route)
  while true do
    local member = unpack(redis.call('ZPOPMIN', deliveries_to(route)))
    if not member then return nil end
    local id, job = parts(member)
    local is_waiting = redis.call('ZREM', DELIVERIES.waiting, member) == 1
    local state, finished_at = unpack(redis.call('HMGET', record(id), job .. 'webhook_state', job .. 'finished_at'))
    if is_waiting and state == 'pending' then return member, finished_at end  -- or else its record has expired
  end
end

local function hold(member, finished_at, owner, host)
  local id, job = parts(member)
  local attempt = redis.call('HINCRBY', record(id), job .. 'webhook_attempts', 1)
  redis.call('HSET', record(id), job .. 'webhook_next', now + hold_ms, job .. 'webhook_claim', now + hold_ms)
  redis.call('ZADD', DELIVERIES.delayed, now + hold_ms, member)
  return {id, finished_at, attempt, job == DERIVED and 1 or 0, owner, host}
end

-- Claims the first delivery of a host, nil where its line has none. The host leaves the ring with it if it is probed.
local function claim_of(owner, host)
  local route = owner .. ' ' .. host
  local is_probe = redis.call('EXISTS', pause(route)) == 1
  if is_probe then give_up(route) end
  local member, finished_at = first_in(route)
  local has_more = redis.call('EXISTS', deliveries_to(route)) == 1
  if has_more and not is_probe then to_end(hosts(owner), host) else leave_ring(owner, host) end
  if not member then return nil end
  local claim = hold(member, finished_at, owner, host)
  if is_probe then
    redis.call('HSET', pause(route), 'probe', attempt_of(member, claim[3]))
    redis.call('ZADD', DELIVERIES.paused, now + hold_ms, route)
  end
  return claim
end

-- Claims the next delivery of an owner, nil where none may be made now.
local function next_of(owner)
  local at = 0
  while at < MOST_BLOCKED do
    local host = unpack(redis.call('ZRANGE', hosts(owner), at, at))
    if not host then return nil end
    local may_have_more = (used.host[host] or 0) < HOSTS_SHARE * free
    local claim = may_have_more and claim_of(owner, host)
    if claim then return claim end
    if not may_have_more then at = at + 1 end
  end
end

adopt()
local are_more_due = end_delays()
local claims, blocked = {}, 0
while free > 0 and #claims < MOST_CLAIMED and blocked < MOST_BLOCKED do
  local owner = unpack(redis.call('ZRANGE', DELIVERIES.owners, 0, 0))
  if not owner then break end
  local claim = (used.owner[owner] or 0) < OWNERS_SHARE * free and next_of(owner)
  local has_more = redis.call('ZSCORE', DELIVERIES.owners, owner)
  if has_more then to_end(DELIVERIES.owners, owner) end
  if claim then
    local host = claim[6]
    used.owner[owner], used.host[host] = (used.owner[owner] or 0) + 1, (used.host[host] or 0) + 1
    free = free - 1
    claims[#claims + 1] = claim
  elseif has_more then
    blocked = blocked + 1
    if blocked >= redis.call('ZCARD', DELIVERIES.owners) then break end
  end
end
return {claims, given_up, (are_more_due or #claims == MOST_CLAIMED) and 1 or 0}
