-- Drops from the lists of all owners' uploads those whose records have expired.
-- Guarantees: looks at no more than `most` of each list, from the oldest but `skip`, and no newer ones than a record is
-- kept for.
-- Returns {how many were looked at, how many of them were dropped} of each list.
-- ARGV: most, record_ttl_s, and for each list how many of the oldest to skip
local most, before = tonumber(ARGV[1]), now_ms() - 1000 * ARGV[2]
local answer = {}
for at, set in ipairs({ALL, UNSUCCESSFUL.FAILURE, UNSUCCESSFUL.CANCELLED}) do
  local dropped = 0
  local found = redis.call('ZRANGEBYSCORE', set, '-inf', before, 'LIMIT', ARGV[2 + at], most)
  for _, id in ipairs(found) do
    if redis.call('EXISTS', record(id)) == 0 then dropped = dropped + redis.call('ZREM', set, id) end
  end
  answer[at] = {#found, dropped}
end
return answer
