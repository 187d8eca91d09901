-- What operators see beside the records: counts of each minute, and what became of a job's attempts before its last. To
-- count a job costs a call when it is queued and two when it has ended; notes are written when something has gone
-- wrong.

local COUNTED_S = 3660  -- an hour of whole minutes, and the one that has begun
local MOST_NOTES = 20

local function minute(at_ms) return PREFIX .. 'minute:' .. math.floor(at_ms / 60000) end

-- Counts one more `what` in this minute: accepted, cancelled, failed:<code>, or done:<class of duration>.
local function count(what)
  local counts = minute(now_ms())
  if redis.call('HINCRBY', counts, what, 1) == 1 then redis.call('EXPIRE', counts, COUNTED_S) end
end

-- Counts a success by the class of its duration: four to each doubling, so that a percentile is right within a tenth.
local function count_done(started_at)
  count('done:' .. math.floor(4 * math.log(math.max(now_ms() - started_at, 0) + 1) / math.log(2)))
end

local function code_of(failure) return failure and failure:match('^%["([%w_]+)"') end

local function count_failure(failure) count('failed:' .. (code_of(failure) or '')) end

-- Notes in an upload's record that an attempt came to nothing: how (lapsed or released) and at which step; or that a
-- run did that was followed by another (its status), with its code and the request that had queued it.
local function note(id, event, token, detail, at_ms, request_id)
  local lines = {}
  for line in (redis.call('HGET', record(id), 'history') or ''):gmatch('[^\n]+') do lines[#lines + 1] = line end
  if #lines >= MOST_NOTES then table.remove(lines, 1) end
  local at = string.format('%d', at_ms or now_ms())
  lines[#lines + 1] = table.concat({event, at, token or '-', detail or '-', request_id or '-'}, '\t')
  redis.call('HSET', record(id), 'history', table.concat(lines, '\n'))
end

-- Notes that an attempt of an upload's job ended without its end.
local function note_attempt(id, event, token)
  note(id, event, token, redis.call('HGET', record(id), job_of(id) .. 'step'))
end

-- Notes the end of a run that is followed by another.
local function note_end(id, job)
  local status, finished_at, failure, by = unpack(redis.call('HMGET', record(id),
    job .. 'status', job .. 'finished_at', job .. 'failure', 'by'))
  if not RETRYABLE[status] then return end
  local token, request_id = (by or '-\t-'):match('^([^\t]*)\t(.*)$')
  note(id, status, token, code_of(failure), finished_at, request_id)
end
