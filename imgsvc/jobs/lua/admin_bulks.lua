-- Lists the bulk actions that are kept, the newest first.
-- Guarantees: writes nothing.
-- Returns {{id, {field, value, …}}, …}
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', BULKS, 0, -1)) do
  local fields = redis.call('HGETALL', bulk(id))
  if #fields > 0 then found[#found + 1] = {id, fields} end
end
return found
