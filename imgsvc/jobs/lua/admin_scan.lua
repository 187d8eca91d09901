-- Looks for uploads of all owners, newest first.
-- Guarantees: writes nothing, and looks at no more than `most` of them, so that it takes a few ms however many there
-- are. One that goes on after the last that was looked at repeats and skips none, whatever is added or deleted in
-- between.
-- Returns {{ms, id} of the last that was looked at or false where there are no more, how many were, {{ms, id, owner},
-- …} of those that match}.
-- ARGV: limit, most, ms and id after which to go on or '', then what must match, '' for any: owner or '*' for any,
-- statuses of the job or of the newest derivation, code of the failure of either, text in the name or at the beginning
-- of the id, ms before which and from which it was submitted
local limit, most, after_ms, after_id = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local owner, code, text, before_ms, from_ms = ARGV[5], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local now = now_ms()
local newest_ms = before_ms ~= '' and '(' .. before_ms or '+inf'
local oldest_ms = from_ms ~= '' and from_ms or '-inf'
local statuses, wanted = {}, {}
for status in ARGV[6]:gmatch('%u+') do
  statuses[#statuses + 1] = status
  wanted[status] = true
end

-- The lists that together have all that can match.
local function lists()
  local found = {}
  for _, status in ipairs(statuses) do found[#found + 1] = UNSUCCESSFUL[status] end
  if #statuses > 0 and #found == #statuses then return found end
  if code ~= '' then return {UNSUCCESSFUL.FAILURE} end
  if owner == '*' then return {ALL} end
  if #statuses == 1 and wanted.SUCCESS then return {list('SUCCESS', owner)} end
  found = {}
  for _, status in ipairs({'PENDING', 'PROGRESS', 'SUCCESS', 'FAILURE', 'CANCELLED'}) do
    found[#found + 1] = list(status, owner)
  end
  return found
end

local function has_code(failure) return failure and failure:find('["' .. code .. '"', 1, true) == 1 end

-- Whether an upload has what is asked for, by as few of its fields as that takes: most have not.
local function matches(id)
  if #statuses > 0 then
    local status, derivation = unpack(redis.call('HMGET', record(id), 'status', 'derivation_status'))
    if not wanted[status] and not wanted[derivation] then return false end
  end
  if code ~= '' then
    local failure, derivation_failure = unpack(redis.call('HMGET', record(id), 'failure', 'derivation_failure'))
    if not has_code(failure) and not has_code(derivation_failure) then return false end
  end
  if text == '' or id:find(text, 1, true) == 1 then return true end
  local filename = redis.call('HGET', record(id), 'filename')
  return filename and filename:lower():find(text, 1, true)
end

-- The owner of an upload that readers see, if it is one that is asked for.
local function owner_if_visible(id)
  local status, expires_at, owned_by, earlier =
    unpack(redis.call('HMGET', record(id), 'status', 'expires_at', 'owner', 'belongs_to'))
  if not is_visible(status) or tonumber(expires_at or math.huge) <= now then return nil end
  local its_owner = owner_in(owned_by, earlier)
  return (owner == '*' or its_owner == owner) and its_owner or nil
end

-- one more than may be looked at, to know whether there are more
local rows = newest_on(lists(), most + 1, after_ms, after_id, newest_ms, oldest_ms)
local found, seen = {}, 0
while seen < math.min(most, #rows) and #found < limit do
  seen = seen + 1
  local row = rows[seen]
  local its_owner = matches(row.id) and owner_if_visible(row.id)
  if its_owner then found[#found + 1] = {row.ms, row.id, its_owner} end
end
local last = seen < #rows and rows[seen]
return {last and {last.ms, last.id}, seen, found}
