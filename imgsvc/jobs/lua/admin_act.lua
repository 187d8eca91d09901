-- Does to one upload what a bulk action does to all that match.
-- Guarantees: the upload's job and how far the action has come change in one step, so that no crash has it done twice
-- or left out. An upload that has changed since it was found is left as it is. A retry keeps the limits of its owner:
-- of uploads a minute and of the queue's length the action waits, and one beyond the quota is refused. Only the worker
-- that holds the action goes on with it.
-- Returns DONE, REFUSED, WAIT if it must be tried again later, or LOST if the caller no longer holds the action.
-- ARGV: id of the action, holder, hold_ms, the upload's ms and id, its owner, record_ttl_s, max_queued, uploads a
-- minute or 0, bytes a day or 0, bytes to count for an original of unknown size
local action_id, holder, hold_ms, ms, id, owner = unpack(ARGV, 1, 6)
local WAIT_MS = 1000
if not holds(action_id, holder) then return 'LOST' end
local action, request_id = unpack(redis.call('HMGET', bulk(action_id), 'action', 'request_id'))

local function retry()
  return run_again(id, request_id, tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]))
end

local function cancel_one()
  if has_ended(id) then return {'CONFLICT'} end
  cancel_and_sweep(id, ARGV[7])
  return {'RESERVED'}
end

local outcome, wait_ms = unpack(is_seen_by(id, owner) and (action == 'retry' and retry or cancel_one)() or {'UNKNOWN'})
if outcome == 'OVERLOADED' or outcome == 'RATE_LIMITED' then
  redis.call('HSET', bulk(action_id), 'waiting_for', outcome)
  redis.call('ZADD', BULK, now_ms() + math.max(WAIT_MS, wait_ms or 0), action_id)
  return 'WAIT'
end
redis.call('HSET', bulk(action_id), 'position', ms .. ' ' .. id)
redis.call('HDEL', bulk(action_id), 'waiting_for')
redis.call('HINCRBY', bulk(action_id), outcome == 'RESERVED' and 'done' or 'refused', 1)
redis.call('ZADD', BULK, now_ms() + hold_ms, action_id)
return outcome == 'RESERVED' and 'DONE' or 'REFUSED'
