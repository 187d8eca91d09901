-- Records that a worker is alive, and renews the leases that it still holds. One that fetches counts as none.
-- Guarantees: renews no lease that another worker has claimed since, and none of a job that has ended.
-- Returns the ids of jobs that the caller has lost, and must stop.
-- ARGV: the worker's heartbeat (its name and sandbox) or '', lease_ms, then id and token of each job
local heartbeat, lease_ms = ARGV[1], tonumber(ARGV[2])
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', WORKERS, 0, '(' .. now)  -- first what frees memory, as in finish
if heartbeat ~= '' then redis.call('ZADD', WORKERS, now + lease_ms, heartbeat) end
local lost = {}
for i = 3, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  if owns(id, token) then
    local queue = queue_of(id)
    if redis.call('ZADD', queue, now + lease_ms, id) == 1 then  -- it had lapsed, and nobody has claimed it yet
      leave_lines(id)
      if queue ~= FETCHES then start(id) end  -- as when it was claimed
    end
  else
    lost[#lost + 1] = id
  end
end
check_parked()
for _, lane in ipairs({NORMAL, LOW}) do forget(lane, MOST_IDLE) end
return lost
