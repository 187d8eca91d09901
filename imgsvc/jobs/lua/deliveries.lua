-- Which delivery to a webhook is next, of all that are due: owners take turns, and so do the hosts of each owner.
--
-- A delivery waits for its time in DELIVERIES.delayed, and then in the line of its owner and host. A host with a line
-- stands in the ring of its owner, and the owner in the ring of all; whoever was served goes to the end of his ring. A
-- ring is empty where nobody waits, so that idle owners leave nothing.
--
-- A host that does not answer an owner is paused for this owner, and leaves the ring. It is not paused for others: all
-- that is known is that it did not answer at the path that this owner has named, and a service that many owners use
-- (an automation hub, a chat) may well answer at theirs. What owners can take together of such a host is bounded by the
-- cap of each host (claim_webhooks.lua). While there is a memory of failures (pause), one delivery at a time goes to
-- the host, as a probe. Any answer ends it.

local MEMORY_MS = 600000  -- for which failures are remembered after a pause, to make the next one longer

local function hosts(owner) return PREFIX .. 'deliveries:hosts:' .. owner end
local function deliveries_to(route) return PREFIX .. 'deliveries:line:' .. route end
local function pause(route) return PREFIX .. 'deliveries:pause:' .. route end
local function attempt_of(member, number) return member .. ' ' .. number end
local function attempts(id) return PREFIX .. 'attempts:' .. id end

-- The owner and the host of an upload's webhook, its port included. A route is both, with a space between them.
local function route_of(id)
  local url, owner, earlier = unpack(redis.call('HMGET', record(id), 'webhook', 'owner', 'belongs_to'))
  local host = authority_of(url or '')
  return owner_in(owner, earlier), host:sub(1, 255)
end

-- Puts a member at the end of a ring, wherever it stood.
local function to_end(ring, member)
  local _, last = unpack(redis.call('ZREVRANGE', ring, 0, 0, 'WITHSCORES'))
  redis.call('ZADD', ring, (last or 0) + 1, member)
end

-- Has a host take its turn among those of its owner, unless it is paused.
local function join_ring(owner, host)
  if redis.call('ZSCORE', DELIVERIES.paused, owner .. ' ' .. host) then return end
  if not redis.call('ZSCORE', hosts(owner), host) then to_end(hosts(owner), host) end
  if not redis.call('ZSCORE', DELIVERIES.owners, owner) then to_end(DELIVERIES.owners, owner) end
end

local function leave_ring(owner, host)
  redis.call('ZREM', hosts(owner), host)
  if redis.call('EXISTS', hosts(owner)) == 0 then redis.call('ZREM', DELIVERIES.owners, owner) end
end

-- Has a delivery wait in its line: it is due.
local function deliver(id, job)
  local now, member, owner, host = now_ms(), job .. id, route_of(id)
  redis.call('ZREM', DELIVERIES.delayed, member)
  redis.call('ZADD', DELIVERIES.waiting, now, member)
  redis.call('ZADD', deliveries_to(owner .. ' ' .. host), now, member)
  join_ring(owner, host)
end

-- Takes a delivery from wherever it waits.
local function undeliver(id, job)
  redis.call('ZREM', WEBHOOKS[job], id)
  redis.call('ZREM', DELIVERIES.delayed, job .. id)
  if redis.call('ZREM', DELIVERIES.waiting, job .. id) == 0 then return end
  local owner, host = route_of(id)
  redis.call('ZREM', deliveries_to(owner .. ' ' .. host), job .. id)
  if redis.call('EXISTS', deliveries_to(owner .. ' ' .. host)) == 0 then leave_ring(owner, host) end
end

-- How many deliveries have not been made yet.
local function deliveries_queued()
  local count = 0
  for _, set in ipairs({DELIVERIES.waiting, DELIVERIES.delayed, WEBHOOKS[OWN], WEBHOOKS[DERIVED]}) do
    count = count + redis.call('ZCARD', set)
  end
  return count
end

-- Queues the delivery of the end of an upload's job to its webhook, if it has one.
local function queue_webhook(id, job)
  if redis.call('HEXISTS', record(id), 'webhook') == 0 then return end
  redis.call('HSET', record(id), job .. 'webhook_state', 'pending', job .. 'webhook_next', now_ms())
  deliver(id, job)
end

-- Drops the delivery of an end: the job is run again, or the upload is deleted.
local function drop_webhook(id, job)
  undeliver(id, job)
  for _, field in ipairs({'state', 'attempts', 'next', 'last', 'claim'}) do
    redis.call('HDEL', record(id), job .. 'webhook_' .. field)
  end
end
