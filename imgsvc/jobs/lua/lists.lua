-- What scripts share that list uploads, the newest first: by the ms at which they were submitted, then by id.

-- Reads the newest uploads of each list in `names`, at most `most` of each: {{id, ms, list}, …} with the newest of all
-- first. They come after the upload of `after_id` at `after_ms`, or from the beginning where that is ''; and are from
-- `newest_ms` to `oldest_ms`, as ZRANGEBYSCORE has them.
local function newest_on(names, most, after_ms, after_id, newest_ms, oldest_ms)
  local function read(name)
    if after_ms == '' then
      return redis.call('ZREVRANGEBYSCORE', name, newest_ms, oldest_ms, 'WITHSCORES', 'LIMIT', 0, most)
    end
    local skipped = 0
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', name, after_ms, after_ms)) do
      if id >= after_id then skipped = skipped + 1 end
    end
    return redis.call('ZREVRANGEBYSCORE', name, after_ms, oldest_ms, 'WITHSCORES', 'LIMIT', skipped, most)
  end

  local rows = {}
  for _, name in ipairs(names) do
    local found = read(name)
    for at = 1, #found, 2 do rows[#rows + 1] = {id = found[at], ms = tonumber(found[at + 1]), list = name} end
  end
  table.sort(rows, function(a, b)
    if a.ms ~= b.ms then return a.ms > b.ms end
    return a.id > b.id
  end)
  return rows
end
