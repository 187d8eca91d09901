-- Whose job is next: fair queueing among owners, whatever number of jobs each has waiting.
--
-- Claiming a job moves its owner's turn on by what the job costs, and the next job is one of the owner whose turn comes
-- first (start-time fair queueing). The virtual time of a lane is the turn of who is next. Who comes has his turn then,
-- or when he would have had it had he stayed, so that idle owners save up nothing. They cost nothing either: what is
-- kept of them is dropped when the virtual time has passed it, or nobody waits any more. Everything here is logarithmic
-- in the number of jobs and of owners with jobs.

local RANK = 2 ^ 42  -- more than any time in ms
local LOW_SHARE = 16  -- of so many jobs one is of low priority where others wait too
local BYTES_A_COST, PIXELS_A_COST = 500000, 4000000  -- what takes as long as all that every job takes
local UNKNOWN_COST = 2

local function line(lane, owner) return PREFIX .. 'line:' .. lane .. ':' .. owner end

-- The lane and the owner of a job, and where it stands among those of its owner: high priority first, then the oldest.
local function place_of(id)
  local status, priority, owner, earlier, created_at, derived_at = unpack(redis.call('HMGET', record(id),
    'status', 'priority', 'owner', 'belongs_to', 'created_at', 'derivation_created_at'))
  local since = job_in(status) == DERIVED and derived_at or created_at or 0
  local position = (priority == 'high' and 0 or RANK) + since
  return priority == 'low' and LOW or NORMAL, owner_in(owner, earlier), position
end

-- About how long a job takes, in units of what every job takes.
local function cost_of(id)
  local source, made = unpack(redis.call('HMGET', record(id), 'source', 'success'))
  if made then
    local width, height = made:match('^%[(%d+),(%d+)')
    return 1 + width * height / PIXELS_A_COST
  end
  local bytes = source and source:match('^%[(%d+)')
  return bytes and 1 + bytes / BYTES_A_COST or UNKNOWN_COST
end

-- Has a job wait for a worker.
local function wait(id)
  local lane, owner, position = place_of(id)
  redis.call('ZADD', WAITING, 'NX', now_ms(), id)
  redis.call('ZADD', line(lane, owner), position, id)
  if redis.call('ZSCORE', TURNS[lane], owner) then return end
  local _, now = unpack(redis.call('ZRANGE', TURNS[lane], 0, 0, 'WITHSCORES'))
  local rested = redis.call('ZSCORE', RESTED[lane], owner)
  redis.call('ZADD', TURNS[lane], math.max(now or 0, rested or 0), owner)
  if rested then redis.call('ZREM', RESTED[lane], owner) end
end

local function leave_line(id)
  if redis.call('ZREM', WAITING, id) == 0 then return end
  local lane, owner = place_of(id)
  redis.call('ZREM', line(lane, owner), id)
end

-- Takes the next job of a lane out of its line, nil where there is none.
local function next_in(lane)
  while true do
    local owner, turn = unpack(redis.call('ZRANGE', TURNS[lane], 0, 0, 'WITHSCORES'))
    if not owner then
      redis.call('DEL', RESTED[lane])
      return nil
    end
    local id = unpack(redis.call('ZPOPMIN', line(lane, owner)))
    if not id then
      redis.call('ZREM', TURNS[lane], owner)
      redis.call('ZADD', RESTED[lane], turn, owner)
      redis.call('ZREMRANGEBYSCORE', RESTED[lane], '-inf', '(' .. turn)
    elseif redis.call('ZREM', WAITING, id) == 1 and not has_ended(id) then
      redis.call('ZADD', TURNS[lane], turn + cost_of(id), owner)
      return id
    end
  end
end

-- Takes the next job of all, nil where none waits. Low priority yields to everything else, but for its share.
local function next_job()
  if redis.call('ZCARD', TURNS[LOW]) == 0 then return next_in(NORMAL) end
  if redis.call('HINCRBY', SHARES, 'jobs', 1) % LOW_SHARE == 0 then return next_in(LOW) or next_in(NORMAL) end
  return next_in(NORMAL) or next_in(LOW)
end
