-- Queues a derivation of an upload that has succeeded: some of its variants are made of its original, and then take the
-- place of what it has under these names (finish.lua).
-- Guarantees: an upload has one derivation at a time. Nothing that readers see of its files changes before it has
-- succeeded. It is as its caller decided on, or not queued: of two changes, the second one knows of the first. The
-- limits are those of an upload of these bytes, and nothing changes if they are exceeded.
-- Returns {outcome} as retry.lua does; and {CHANGED} if the upload is no longer what its caller has seen.
-- ARGV: id, owner, request_id, max_queued, uploads a minute or 0, bytes a day or 0, bytes to count for an original of
-- unknown size, what the caller has seen (version_of), names of the variants (JSON), the upload's options after it that
-- differ from those that it came with (JSON)
local id, owner, request_id, max_queued, per_minute = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local per_day, unknown_bytes, seen = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local status, expires_at = unpack(redis.call('HMGET', record(id), 'status', 'expires_at'))
if not is_seen_by(id, owner) then return {'UNKNOWN'} end
if version_of(id) ~= seen then return {'CHANGED'} end
if status ~= 'SUCCESS' or not has_ended(id) then return {'CONFLICT'} end
if tonumber(expires_at or math.huge) <= now_ms() then return {'CONFLICT'} end
local answer = admission(id, max_queued, per_minute, per_day, unknown_bytes)
if answer[1] ~= 'RESERVED' then return answer end
redis.call('HSET', record(id), 'derivation_variants', ARGV[9], 'derivation_changes', ARGV[10])
run(id, request_id)
return answer
