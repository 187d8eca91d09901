-- Which fetch is next. An upload that came as a URL waits here for a worker that fetches its original; once that is
-- stored, it waits in its owner's line as any other (turns.lua).
--
-- Owners take turns as they do for decoders, each with one fetch a turn; an owner's own are fetched in the order of
-- their priority and age. A fetch from a host that never ends costs little but a place, and that for long: therefore
-- each worker leaves room. Of one owner it takes more only while that has less than OWNER_SHARE times the places that
-- would stay free, of one host less than HOST_SHARE times; who has none may have the last one. So an owner alone has
-- two thirds of a worker's places, several have the same each, and there is a place for who comes next.

local FETCH, FETCH_LOW = 'fetch', 'fetch-low'  -- lanes
local OWNER_SHARE, HOST_SHARE = 2, 8
local FEW_OWNERS, MOST_OWNERS, MOST_HOSTS = 50, 1000, 100  -- that a claim looks at for one fetch

local function fetch_hosts(lane, owner) return PREFIX .. 'hosts:' .. lane .. ':' .. owner end
local function fetch_line(lane, owner, host) return PREFIX .. 'line:' .. lane .. ':' .. owner .. ':' .. host end

-- The host and port of a URL.
local function host_of(url)
  local authority, scheme = authority_of(url)
  if authority == '' or authority:find(':%d+$') then return authority end
  return authority .. (scheme == 'https' and ':443' or ':80')
end

-- The lane, owner and host of a fetch, and its place among those of its owner: by priority, then the oldest.
local function fetch_place(id)
  local url, priority, created_at = unpack(redis.call('HMGET', record(id), 'url', 'priority', 'created_at'))
  local position = position_of(priority, created_at or 0)
  return priority == 'low' and FETCH_LOW or FETCH, owner_of(id), host_of(url or ''), position
end

-- Has an upload wait for a worker that fetches its original.
local function wait_for_fetch(id)
  local lane, owner, host, position = fetch_place(id)
  redis.call('ZADD', FETCHES_WAITING, 'NX', now_ms(), id)
  redis.call('ZADD', fetch_line(lane, owner, host), position, id)
  redis.call('ZADD', fetch_hosts(lane, owner), 'LT', position, host)
  join(lane, owner)
end

-- Keeps an owner's hosts in the order of what waits for them first; an owner without any has no turn.
local function update_host(lane, owner, host)
  local _, position = unpack(redis.call('ZRANGE', fetch_line(lane, owner, host), 0, 0, 'WITHSCORES'))
  if position then
    redis.call('ZADD', fetch_hosts(lane, owner), position, host)
    return
  end
  redis.call('ZREM', fetch_hosts(lane, owner), host)
  if redis.call('EXISTS', fetch_hosts(lane, owner)) == 0 then rest(lane, owner) end
end

local function leave_fetch_line(id)
  if redis.call('ZREM', FETCHES_WAITING, id) == 0 then return end
  local lane, owner, host = fetch_place(id)
  redis.call('ZREM', fetch_line(lane, owner, host), id)
  update_host(lane, owner, host)
end

-- What a worker has room for, of `places` in all: `taken` are the owner and the host of each fetch that it is at.
local function room_of(places, taken)
  local room = {free = places, owners = {}, hosts = {}}
  local function is_within(used, share) return used == 0 or used < share * (room.free - 1) end
  function room.has_for_owner(owner) return is_within(room.owners[owner] or 0, OWNER_SHARE) end
  function room.has_for_host(host) return is_within(room.hosts[host] or 0, HOST_SHARE) end
  function room.take(owner, host)
    room.free = room.free - 1
    room.owners[owner] = (room.owners[owner] or 0) + 1
    room.hosts[host] = (room.hosts[host] or 0) + 1
  end
  for at = 1, #taken, 2 do room.take(taken[at], taken[at + 1]) end
  return room
end

-- Takes an owner's next fetch out of its line that a worker has room for. Returns its id and host, or nil.
local function next_of_owner(lane, owner, room)
  for _, host in ipairs(redis.call('ZRANGE', fetch_hosts(lane, owner), 0, MOST_HOSTS - 1)) do
    local id = room.has_for_host(host) and unpack(redis.call('ZPOPMIN', fetch_line(lane, owner, host)))
    while id and redis.call('ZREM', FETCHES_WAITING, id) == 0 do  -- it was deleted
      id = unpack(redis.call('ZPOPMIN', fetch_line(lane, owner, host)))
    end
    if id then return id, host end
    if room.has_for_host(host) then update_host(lane, owner, host) end
  end
end

-- Takes the next fetch out of its line that a worker has room for, of `count` owners from the one at `from`.
local function next_of_owners(lane, room, from, count)
  local rows = redis.call('ZRANGE', turns(lane), from, from + count - 1, 'WITHSCORES')
  for at = 1, #rows, 2 do
    local owner, turn = rows[at], rows[at + 1]
    local id, host
    if room.has_for_owner(owner) then id, host = next_of_owner(lane, owner, room) end
    if id then
      redis.call('ZADD', turns(lane), turn + 1, owner)
      update_host(lane, owner, host)
      return id, owner, host
    end
  end
end

-- Takes the next fetch of a lane out of its line that a worker has room for. Returns its id, owner and host, or nil.
local function next_in_lane(lane, room)
  local id, owner, host = next_of_owners(lane, room, 0, FEW_OWNERS)
  local count = not id and redis.call('ZCARD', turns(lane)) or 0
  if count <= FEW_OWNERS then return id, owner, host end
  -- these wait for nothing but hosts for which there is no room; where there are very many, each claim looks at others
  return next_of_owners(lane, room, count > MOST_OWNERS and now_ms() % count or FEW_OWNERS, MOST_OWNERS)
end

-- Takes the next fetch of all that a worker has room for. Returns its id, owner and host, or nil.
local function next_fetch(room)
  return next_of_lanes(FETCH, FETCH_LOW, 'fetches', function(lane) return next_in_lane(lane, room) end)
end

-- Has a job wait for a worker: one that fetches its original, or one that makes its files of it. Returns the channel of
-- such workers.
local function line_up(id)
  if needs_fetch(id) then
    wait_for_fetch(id)
    return FETCH_DOORBELL
  end
  wait(id)
  return DOORBELL
end

local function leave_lines(id)
  leave_line(id)
  leave_fetch_line(id)
end

local function enqueue(id) redis.call('PUBLISH', line_up(id), '') end

local function unqueue(id)
  leave_lines(id)
  stop(id)
  for _, queue in ipairs({QUEUE, EARLIER_QUEUE, DERIVATIONS, FETCHES}) do redis.call('ZREM', queue, id) end
end

-- How many jobs have not ended.
local function queued()
  local count = 0
  for _, set in ipairs({WAITING, QUEUE, EARLIER_QUEUE, DERIVATIONS, FETCHES_WAITING, FETCHES}) do
    count = count + redis.call('ZCARD', set)
  end
  return count
end
