-- Lists a page of an owner's uploads of some statuses, newest first.
-- Guarantees: a page that begins after the last upload of another one repeats and skips none, whatever is added,
-- deleted or moved to another of these statuses in between. Expired uploads are left out and dropped from their list: a
-- page may have fewer than `limit`, and others may follow.
-- Returns {{ms, id} of the page's last upload or false on the last page, {{id, record}, …}}.
-- ARGV: owner, limit, ms and id after which the page begins or '', statuses
local owner, limit, before_ms, before_id = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local now = now_ms()

-- The page's uploads on one list, and one more: {id, ms, …}
local function newest(name)
  if before_ms == '' then return redis.call('ZREVRANGE', name, 0, limit, 'WITHSCORES') end
  local skipped = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', name, before_ms, before_ms)) do
    if id >= before_id then skipped = skipped + 1 end
  end
  return redis.call('ZREVRANGEBYSCORE', name, before_ms, '-inf', 'WITHSCORES', 'LIMIT', skipped, limit + 1)
end

local found = {}
for at = 5, #ARGV do
  local name = list(ARGV[at], owner)
  local rows = newest(name)
  for row = 1, #rows, 2 do
    found[#found + 1] = {id = rows[row], ms = tonumber(rows[row + 1]), list = name}
  end
end
table.sort(found, function(a, b)
  if a.ms ~= b.ms then return a.ms > b.ms end
  return a.id > b.id
end)

local page = {}
for at = 1, math.min(limit, #found) do
  local id = found[at].id
  local status, expires_at = unpack(redis.call('HMGET', record(id), 'status', 'expires_at'))
  if is_visible(status) and tonumber(expires_at or math.huge) > now then
    page[#page + 1] = {id, redis.call('HGETALL', record(id))}
  else
    redis.call('ZREM', found[at].list, id)
  end
end
local last = #found > limit and found[limit]
return {last and {last.ms, last.id}, page}
