-- Which job is next: weighted fair queueing among owners, whatever number of jobs each has waiting.
--
-- Claiming a job moves its owner's turn on by what the job costs, the less the more the owner weighs, and the next job
-- is one of the owner whose turn comes first (start-time fair queueing). The virtual time of a lane is the turn of who
-- is next, and the latest turn of all where nobody waits. Who comes has his turn then, or when he would have had it had
-- he stayed, so that idle owners save up nothing. They cost nothing either: what is kept of them is dropped when the
-- virtual time has passed it, or nobody waits any more. An owner who runs as many jobs as he may is parked, without a
-- turn, until one of them ends. Everything here is logarithmic in the number of jobs and of owners with jobs.

local RANK = 2 ^ 42  -- more than any time in ms
local LOW_SHARE = 16  -- of so many one is of low priority where others wait too
local LOOK_AGAIN_MS = 10000  -- after which an owner is not parked any longer for a lease that got lost
local MOST_IDLE = 1000  -- owners who are looked at besides those whose jobs are claimed
-- What takes as long as all that every job takes: of an original, by its format, or else of its pixels (bench pixels).
local BYTES_A_COST = {webp = 200000, gif = 200000, avif = 120000, heif = 120000, jxl = 120000, tiff = 2e6, bmp = 4e6}
local BYTES_OF_OTHERS, PIXELS_A_COST = 500000, 4000000
local UNKNOWN_COST = 2

local function line(lane, owner) return PREFIX .. 'line:' .. lane .. ':' .. owner end
local function turns(lane) return PREFIX .. 'turns:' .. lane end
local function rested(lane) return PREFIX .. 'rested:' .. lane end
local function running(owner) return PREFIX .. 'running:' .. owner end
local function owners_limits(fingerprint) return PREFIX .. 'owners:' .. fingerprint end

-- Where something of a priority that has waited since then stands among the others of its owner and lane.
local function position_of(priority, since) return (priority == 'high' and 0 or RANK) + since end

-- The lane and the owner of a job, and where it stands among those of its owner: high priority first, then the oldest.
local function place_of(id)
  local status, priority, owner, earlier, created_at, derived_at = unpack(redis.call('HMGET', record(id),
    'status', 'priority', 'owner', 'belongs_to', 'created_at', 'derivation_created_at'))
  local since = job_in(status) == DERIVED and derived_at or created_at or 0
  return priority == 'low' and LOW or NORMAL, owner_in(owner, earlier), position_of(priority, since)
end

-- About how long a job takes, in units of what every job takes.
local function cost_of(id)
  local source, made = unpack(redis.call('HMGET', record(id), 'source', 'success'))
  if made then
    local width, height = made:match('^%[(%d+),(%d+)')
    return 1 + width * height / PIXELS_A_COST
  end
  local bytes, format = (source or ''):match('^%[(%d+),.*"(%w+)"%]$')
  return bytes and 1 + bytes / (BYTES_A_COST[format] or BYTES_OF_OTHERS) or UNKNOWN_COST
end

-- Gives an owner a turn in a lane where it has a line.
local function join(lane, owner)
  if redis.call('ZSCORE', turns(lane), owner) then return end
  local _, now = unpack(redis.call('ZRANGE', turns(lane), 0, 0, 'WITHSCORES'))
  if not now then _, now = unpack(redis.call('ZREVRANGE', rested(lane), 0, 0, 'WITHSCORES')) end
  local own = redis.call('ZSCORE', rested(lane), owner)
  redis.call('ZADD', turns(lane), math.max(now or 0, own or 0), owner)
  if own then redis.call('ZREM', rested(lane), owner) end
end

-- Drops what is kept of idle owners: of those whose time has passed, or of all where nobody has a turn.
local function forget(lane, most)
  local _, now = unpack(redis.call('ZRANGE', turns(lane), 0, 0, 'WITHSCORES'))
  local passed = redis.call('ZRANGEBYSCORE', rested(lane), '-inf', now and '(' .. now or '+inf', 'LIMIT', 0, most)
  if passed[1] then redis.call('ZREM', rested(lane), unpack(passed)) end
end

-- Takes an owner's turn away, and notes when it would have been.
local function rest(lane, owner)
  local turn = redis.call('ZSCORE', turns(lane), owner)
  if not turn then return end
  redis.call('ZREM', turns(lane), owner)
  redis.call('ZADD', rested(lane), turn, owner)
  forget(lane, 10)  -- one is added, so that they become fewer
end

-- Has a job wait for a worker.
local function wait(id)
  local lane, owner, position = place_of(id)
  redis.call('ZADD', WAITING, 'NX', now_ms(), id)
  redis.call('ZADD', line(lane, owner), position, id)
  join(lane, owner)  -- even if it is parked: the next claim finds out
end

local function leave_line(id)
  if redis.call('ZREM', WAITING, id) == 0 then return end
  local lane, owner = place_of(id)
  redis.call('ZREM', line(lane, owner), id)
  if redis.call('EXISTS', line(lane, owner)) == 0 then rest(lane, owner) end
end

-- Counts a job as one that its owner runs, until `stop`.
local function start(id) redis.call('ZADD', running(owner_of(id)), now_ms(), id) end

local function unpark(owner)
  if redis.call('ZREM', PARKED, owner) == 0 then return end
  for _, lane in ipairs({NORMAL, LOW}) do
    if redis.call('EXISTS', line(lane, owner)) == 1 then join(lane, owner) end
  end
end

local function stop(id)
  local owner = owner_of(id)
  if redis.call('ZREM', running(owner), id) == 1 then unpark(owner) end
end

-- Looks again at owners who are parked for long, lest a lease that got lost keeps a place.
local function check_parked()
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', PARKED, '-inf', now_ms(), 'LIMIT', 0, MOST_IDLE)) do
    for _, id in ipairs(redis.call('ZRANGE', running(owner), 0, -1)) do
      if not lease_of(id) then redis.call('ZREM', running(owner), id) end
    end
    unpark(owner)
  end
end

-- Takes the next job of a lane out of its line, nil where there is none that may be run.
local function next_in(lane, limits_of)
  while true do
    local owner, turn = unpack(redis.call('ZRANGE', turns(lane), 0, 0, 'WITHSCORES'))
    if not owner then return nil end
    local weight, most = limits_of(owner)
    if most > 0 and redis.call('ZCARD', running(owner)) >= most then
      rest(lane, owner)
      redis.call('ZADD', PARKED, 'NX', now_ms() + LOOK_AGAIN_MS, owner)
    else
      local id = unpack(redis.call('ZPOPMIN', line(lane, owner)))
      local is_job = id and redis.call('ZREM', WAITING, id) == 1 and not has_ended(id)
      if is_job then redis.call('ZADD', turns(lane), turn + cost_of(id) / weight, owner) end
      if redis.call('EXISTS', line(lane, owner)) == 0 then rest(lane, owner) end
      if is_job then return id end
    end
  end
end

-- Takes the next of two lanes out of its line: `next_in` returns that of a lane, nil where none may be taken. Low
-- priority yields to everything else, but for its share, which it is owed until it gets it; `counter` counts what has
-- passed it.
local function next_of_lanes(normal, low, counter, next_in)
  local waits = redis.call('EXISTS', turns(low)) == 1
  local is_owed = waits and tonumber(redis.call('HGET', SHARES, counter) or 0) >= LOW_SHARE - 1
  for _, lane in ipairs(is_owed and {low, normal} or waits and {normal, low} or {normal}) do
    local found = {next_in(lane)}
    if found[1] then
      if lane == normal and waits then redis.call('HINCRBY', SHARES, counter, 1) end
      if lane == low and is_owed then redis.call('HDEL', SHARES, counter) end
      return unpack(found)
    end
  end
end

-- Takes the next job of all out of its line, nil where none waits that may be run. `limits_of` returns the weight of an
-- owner, and how many jobs it may run at most, 0 for any number.
local function next_job(limits_of)
  local id = next_of_lanes(NORMAL, LOW, 'passed', function(lane) return next_in(lane, limits_of) end)
  if not id then
    for _, lane in ipairs({NORMAL, LOW}) do forget(lane, MOST_IDLE) end
  end
  return id
end
