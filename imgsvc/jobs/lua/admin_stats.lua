-- What an operator sees of the queue at a glance: lanes, leases, workers, and the counts of the last hour.
-- Guarantees: writes nothing, and looks at no more than `most` leases, and as many owners of low priority.
-- Returns {ms now, jobs waiting, of them in the lane of low priority or false where too many owners wait there, leased,
-- delayed, ms for which the first of the waiting has waited, webhook deliveries queued, heartbeats of the workers
-- alive, {{id, {field, value, …}}, …} of leased jobs, {{minute, {what, count, …}}, …}}.
-- ARGV: lease_ms, most, how many minutes
local lease_ms, most, minutes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
local FIELDS = {
  'lease', 'status', 'owner', 'belongs_to', 'filename', 'step', 'progress', 'attempt', 'started_at',
  'derivation_step', 'derivation_progress', 'derivation_attempt', 'derivation_started_at', 'derivation',
}

local function low_waiting()
  local owners = redis.call('ZRANGE', turns(LOW), 0, most)
  if #owners > most then return false end
  local count = 0
  for _, owner in ipairs(owners) do count = count + redis.call('ZCARD', line(LOW, owner)) end
  return count
end

local leases, leased, due = {}, 0, 0
for _, queue in ipairs({QUEUE, DERIVATIONS, FETCHES}) do
  due = due + redis.call('ZCOUNT', queue, '-inf', now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '(' .. now, now + lease_ms, 'LIMIT', 0, most)) do
    if lease_of(id) then
      leased = leased + 1
      if #leases < most then
        local values, fields = redis.call('HMGET', record(id), unpack(FIELDS)), {}
        for at, name in ipairs(FIELDS) do
          if values[at] then
            fields[#fields + 1] = name
            fields[#fields + 1] = values[at]
          end
        end
        leases[#leases + 1] = {id, fields}
      end
    end
  end
end

local counts = {}
for ago = minutes - 1, 0, -1 do
  local at = math.floor(now / 60000) - ago
  counts[#counts + 1] = {at, redis.call('HGETALL', minute(at * 60000))}
end

local first = now
for _, set in ipairs({WAITING, FETCHES_WAITING}) do
  local _, since = unpack(redis.call('ZRANGE', set, 0, 0, 'WITHSCORES'))
  first = math.min(first, since or now)
end
local waiting = redis.call('ZCARD', WAITING) + redis.call('ZCARD', FETCHES_WAITING) + due
return {
  now, waiting, low_waiting(), leased, queued() - waiting - leased, now - first,
  deliveries_queued(), redis.call('ZRANGEBYSCORE', WORKERS, now, '+inf'), leases, counts,
}
