-- Sends the webhook of an end again, whether it was delivered, is still to be, or was given up.
-- Guarantees: it is made at once, if need be as the next probe of a host that is paused, and then as any other: with
-- all its attempts, and under the same id. It counts as one upload in its owner's rate. An end that no longer counts is
-- not sent again, and none of which an attempt is under way.
-- Returns {outcome}: CONFLICT if the end does not count yet or any more, or an attempt is under way; UNKNOWN if there
-- is no such upload or end. Or {outcome, ms to wait, what the limits leave (with_rest)}: RESERVED if it is queued;
-- RATE_LIMITED.
-- ARGV: id, owner, revision that has ended (1 for the upload's own job), uploads a minute or 0
local id, owner, revision, per_minute = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local job = revision == 1 and OWN or DERIVED
if not is_seen_by(id, owner) then return {'UNKNOWN'} end
local fields = redis.call('HMGET', record(id), 'webhook', 'derivation', job .. 'webhook_state', job .. 'webhook_claim')
local url, newest, state, claimed_until = unpack(fields)
newest = tonumber(newest or 1)
if not url or revision > newest then return {'UNKNOWN'} end
if job == DERIVED and revision < newest or not state then return {'CONFLICT'} end
if tonumber(claimed_until or 0) > now_ms() then return {'CONFLICT'} end
local wait_ms = turn_wait(owner, per_minute)
local function answer(outcome) return with_rest({outcome, wait_ms}, owner, per_minute, 0) end
if wait_ms > 0 then return answer('RATE_LIMITED') end
take_turn(owner, per_minute)
undeliver(id, job)
redis.call('HDEL', record(id), job .. 'webhook_attempts')
local _, host = route_of(id)
local route = owner .. ' ' .. host
if redis.call('HEXISTS', pause(route), 'probe') == 0 then redis.call('ZREM', DELIVERIES.paused, route) end
queue_webhook(id, job)
return answer('RESERVED')
