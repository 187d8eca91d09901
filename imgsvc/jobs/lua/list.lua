-- Lists a page of an owner's uploads of some statuses, newest first.
-- Guarantees: a page that begins after the last upload of another one repeats and skips none, whatever is added,
-- deleted or moved to another of these statuses in between. Expired uploads are left out and dropped from their list: a
-- page may have fewer than `limit`, and others may follow.
-- Returns {{ms, id} of the page's last upload or false on the last page, {{id, record}, …}}.
-- ARGV: owner, limit, ms and id after which the page begins or '', statuses
local owner, limit, before_ms, before_id = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local now = now_ms()

local names = {}
for at = 5, #ARGV do names[#names + 1] = list(ARGV[at], owner) end
local found = newest_on(names, limit + 1, before_ms, before_id, '+inf', '-inf')

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
