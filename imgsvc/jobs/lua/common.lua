-- What the scripts share. Each is preceded by those definitions of this file, turns.lua, fetches.lua, limits.lua,
-- deliveries.lua, observed.lua, moves.lua, lists.lua and admin_bulk.lua that it needs (scripts.py). They guarantee
-- nothing by themselves. Each call ends with two arguments for this part: the prefix of all keys and channels (imgsvc:
-- unless set otherwise), and for how many ms a process that was asked to stop may still write to storage.
--
-- imgsvc:upload:<id>  hash  the record of an upload (record.py)
-- imgsvc:waiting      zset  jobs that wait for a worker, by the ms since which they do
-- imgsvc:line:<lane>:<owner>
--                     zset  an owner's of them, in the order in which they are claimed; low priority has a lane of its
--                           own
-- imgsvc:turns:<lane> zset  owners with a line who are not parked, by when they have their turn in virtual time
--                           (turns.lua)
-- imgsvc:rested:<lane>
--                     zset  owners who had a line lately, by when they would have had their turn
-- imgsvc:shares       hash  how many jobs (`passed`), and fetches (`fetches`), were claimed since low priority had its
--                           share
-- imgsvc:running:<owner>
--                     zset  an owner's jobs that workers have, by the ms at which they were claimed; kept while any
--                           owner has limits
-- imgsvc:parked       zset  owners who have as many of those as they may, by the ms at which that is looked into again
-- imgsvc:owners:<fingerprint>
--                     hash  weight and most running jobs of owners who are not like every other; expires
--                           (know_owners.lua)
-- imgsvc:jobs         zset  jobs that wait for a time, by the ms at which they are due: delayed ones, and leased ones,
--                           which are due when their leases lapse, so that the job of a dead worker comes back by
--                           itself
-- imgsvc:derivations  zset  the same of derivations; workers of versions without them see nothing of them
-- imgsvc:fetches-waiting
--                     zset  uploads whose originals are to be fetched, while they wait for that, by the ms since which
--                           they do
-- imgsvc:line:<lane>:<owner>:<host>
--                     zset  an owner's of them from a host, in the order in which they are fetched. Owners take turns
--                           in the same way, in lanes of their own (fetches.lua)
-- imgsvc:hosts:<lane>:<owner>
--                     zset  the hosts of an owner's, in the order of what waits for them first
-- imgsvc:fetches      zset  the same as jobs of fetches, delayed or under way; workers of versions that fetch while
--                           they run a job see nothing of them
-- imgsvc:queue        zset  the same as jobs of versions before 0.1.0 (adopt)
-- imgsvc:sweep        zset  uploads that the sweeper must look at, by the ms from which it may. What it clears
--                           follows from the record at that time (sweep.lua)
-- imgsvc:settling     zset  uploads to which a process may still write objects to be removed, by the ms until which
-- imgsvc:obsolete     zset  files of uploads that stay, by the ms from which they may be removed: the key of one that
--                           was replaced, or of the original of a try that failed (give_up_try), or
--                           <id>:<revision>:<ms until which more may be stored> for all those of a revision that no
--                           record has: of a derivation that made nothing, or of earlier attempts
-- imgsvc:deliveries   zset  deliveries to webhooks that wait for a time, by the ms at which they are due: the next
--                           attempt, or the end of the time that their worker has. That of a job's end is named by its
--                           upload, that of a derivation's with derivation_ before it
-- imgsvc:deliveries:waiting
--                     zset  those that are due, by the ms since which they are
-- imgsvc:deliveries:line:<owner> <host>
--                     zset  an owner's of them to one host, by the same
-- imgsvc:deliveries:hosts:<owner>
--                     zset  an owner's hosts with a line, the next one first (deliveries.lua)
-- imgsvc:deliveries:owners
--                     zset  owners who have such hosts, the next one first
-- imgsvc:deliveries:paused
--                     zset  <owner> <host> of hosts that do not answer an owner, by the ms until which they are left
--                           alone
-- imgsvc:deliveries:pause:<owner> <host>
--                     hash  how often in a row such a host has failed, and which delivery probes it; expires
-- imgsvc:attempts:<id>
--                     list  the last attempts to deliver the ends of an upload, in JSON (ack_webhook.lua); expires
-- imgsvc:webhooks, imgsvc:derivation-webhooks
--                     zset  deliveries as versions before 0.1.0 queued them (claim_webhooks.lua)
-- imgsvc:list:<status>:<owner>
--                     zset  an owner's uploads of that status, by the ms at which they were submitted
-- imgsvc:all          zset  all owners' uploads, by the ms at which they were submitted, for operators
-- imgsvc:all:<status> zset  those of them whose job, or newest derivation, failed or was cancelled
-- imgsvc:minute:<n>   hash  how many jobs were queued and ended in a minute since the epoch (observed.lua)
-- imgsvc:bulk         zset  bulk actions of operators that are under way, by the ms from which a worker may go on with
--                           them; imgsvc:bulks all that are kept, by when they began, and imgsvc:bulk:<id> each of them
-- imgsvc:workers      zset  workers, by the ms until which they count as alive; and without a name, negative so that
--                           it counts as none, the ms at which the clock was seen last (now_ms)
-- imgsvc:key:<hash>   str   the upload that an Idempotency-Key stands for
-- imgsvc:token:<id>   str   that the upload token with this id has made its upload, whatever became of that
-- imgsvc:deleted:<id> str   tombstone of a deleted upload: its owner
-- imgsvc:transfer:<id>
--                     hash  how far an upload is received that comes in pieces (resumable.py); outlives that for a
--                           while
-- imgsvc:receiving:<owner>
--                     zset  an owner's of them that are not received completely, by the ms at which their time is over
-- imgsvc:rate:<owner> hash  how many uploads an owner has begun lately, and imgsvc:quota:<owner> how many bytes:
--                           leaky buckets (take)
--
-- Time is the server's, so that no worker's clock matters. Ids are part of key names that are not declared
-- in KEYS: all keys live on one primary (Redis Cluster is not supported).

local SETTLE_MS, PREFIX = tonumber(table.remove(ARGV)), table.remove(ARGV)
local QUEUE, EARLIER_QUEUE, DERIVATIONS = PREFIX .. 'jobs', PREFIX .. 'queue', PREFIX .. 'derivations'
local FETCHES, FETCHES_WAITING = PREFIX .. 'fetches', PREFIX .. 'fetches-waiting'
local NORMAL, LOW = 'normal', 'low'  -- lanes
local WAITING, SHARES = PREFIX .. 'waiting', PREFIX .. 'shares'
local PARKED = PREFIX .. 'parked'
local SWEEP, SETTLING, OBSOLETE = PREFIX .. 'sweep', PREFIX .. 'settling', PREFIX .. 'obsolete'
local ALL = PREFIX .. 'all'
local BULK = PREFIX .. 'bulk'
local UNSUCCESSFUL = {FAILURE = PREFIX .. 'all:FAILURE', CANCELLED = PREFIX .. 'all:CANCELLED'}
local WORKERS = PREFIX .. 'workers'
local OWN, DERIVED = '', 'derivation_'  -- jobs of an upload: what the names of their fields in its record begin with
local WEBHOOKS = {[OWN] = PREFIX .. 'webhooks', [DERIVED] = PREFIX .. 'derivation-webhooks'}
local DELIVERIES = {
  delayed = PREFIX .. 'deliveries', waiting = PREFIX .. 'deliveries:waiting', owners = PREFIX .. 'deliveries:owners',
  paused = PREFIX .. 'deliveries:paused',
}
local DOORBELL, REVOKED = PREFIX .. 'doorbell', PREFIX .. 'revoked'
local FETCH_DOORBELL = PREFIX .. 'fetch-doorbell'
local EVENTS, ECHO = PREFIX .. 'events', PREFIX .. 'echo'
local CLOCK = ''  -- a member of WORKERS
local ANYBODY = '*'  -- instead of an owner's name, which cannot have it: for those who may do what any owner may
-- Statuses, as in domain/states.py; readers see no upload whose status is HIDDEN.
local TERMINAL = {SUCCESS = true, FAILURE = true, CANCELLED = true}
local RETRYABLE = {FAILURE = true, CANCELLED = true}
local HIDDEN = {RESERVED = true, ABANDONED = true}
local FIRST_REVISION = 1  -- what an upload's own job makes
local FIRST_LOOK_MS = 2000  -- most that is written late is there by then
local JUMP_MS = 20000  -- fewer than a reservation has left at any time
local GRACE_MS = 60000
local HORIZON_MS = 600000
local LEAST_BYTES = 4096  -- what a record counts as in its owner's quota, at least
local MINUTE_MS, DAY_MS = 60000, 86400000
local TOKEN_TTL_S = 172800  -- for longer than any upload token is valid, also where clocks differ

local function record(id) return PREFIX .. 'upload:' .. id end
local function tombstone(id) return PREFIX .. 'deleted:' .. id end
local function token(id) return PREFIX .. 'token:' .. id end
local function idempotency(key) return PREFIX .. 'key:' .. key end
local function transfer(id) return PREFIX .. 'transfer:' .. id end
local function receiving(owner) return PREFIX .. 'receiving:' .. owner end

-- Moves what is due from `from_ms` to `to_ms` by `by_ms`, but to no later than `latest_ms`.
local function shift(set, from_ms, to_ms, by_ms, latest_ms)
  local rows = redis.call('ZRANGEBYSCORE', set, from_ms, to_ms, 'WITHSCORES')
  for at = 1, #rows, 2 do
    redis.call('ZADD', set, math.min(rows[at + 1] + by_ms, latest_ms or math.huge), rows[at])
  end
end

local function note_time(now) return redis.pcall('ZADD', WORKERS, -now, CLOCK) end

-- The clock was set back: delays are kept, and what was due still is. What is due much later in SWEEP and OBSOLETE has
-- a time of day of its own, and there may be very many.
local function set_back(seen, now)
  local by_ms = now - seen
  local sets = {
    QUEUE, EARLIER_QUEUE, DERIVATIONS, FETCHES, WEBHOOKS[OWN], WEBHOOKS[DERIVED], SETTLING,
    DELIVERIES.delayed, DELIVERIES.paused, PARKED, BULK,
  }
  for _, set in ipairs(sets) do shift(set, '-inf', '+inf', by_ms) end
  shift(WORKERS, '(0', '+inf', by_ms)
  for _, set in ipairs({SWEEP, OBSOLETE}) do shift(set, '-inf', seen + HORIZON_MS, by_ms) end
end

-- The clock was set forward, or Redis could not be called for long: leases and reservations that their holders could
-- not renew keep the time that they had left.
local function set_forward(seen, now)
  local from_ms = '(' .. seen + 1000
  for _, set in ipairs({QUEUE, EARLIER_QUEUE, DERIVATIONS, FETCHES}) do shift(set, from_ms, now, now - seen) end
  shift(SWEEP, from_ms, now, now - seen, now + GRACE_MS)
end

local clock

-- The server's time in ms, the same throughout a script. It is noted about once a second. If it is earlier than the one
-- that was noted last, the server's clock was set back, and all that waits for a time is moved with it: what was due is
-- due, or within that second, however often and far the clock moves.
local function now_ms()
  if clock then return clock end
  local time = redis.call('TIME')
  clock = time[1] * 1000 + math.floor(time[2] / 1000)
  local seen = -(redis.call('ZSCORE', WORKERS, CLOCK) or 0)
  if seen <= clock and clock <= seen + 1000 then return clock end
  local noted = note_time(clock)
  if type(noted) == 'table' and noted.err then return clock end  -- its memory is full: another time
  if seen > clock then set_back(seen, clock) end
  if seen > 0 and clock > seen + JUMP_MS then set_forward(seen, clock) end
  return clock
end

local function status_of(id) return redis.call('HGET', record(id), 'status') end

-- Versions before 0.1.0 kept the owner's name in `belongs_to`, and in `owner` the token of the lease. Tokens have a
-- colon, names of owners cannot. To be dropped with the version after 0.1.0: such records have expired by then.
local function is_token(value) return value and value:find(':', 1, true) end

-- The owner of an upload, by its fields `owner` and `belongs_to`: the name of its API key, '' where the API is open.
local function owner_in(owner, earlier) return owner and not is_token(owner) and owner or earlier or '' end

local function owner_of(id) return owner_in(unpack(redis.call('HMGET', record(id), 'owner', 'belongs_to'))) end

local function job_in(status) return status == 'SUCCESS' and DERIVED or OWN end

-- The job of an upload that workers run, if any: its own, and once that has succeeded its newest derivation.
local function job_of(id) return job_in(status_of(id)) end

-- Whether the next thing to be done for an upload is to fetch its original.
local function needs_fetch(id)
  local url, source = unpack(redis.call('HMGET', record(id), 'url', 'source'))
  return url and not source
end

local function queue_in(job) return job == DERIVED and DERIVATIONS or QUEUE end

local function queue_of(id) return needs_fetch(id) and FETCHES or queue_in(job_of(id)) end

-- Whether there is nothing to be done for an upload: its own job has ended, and so has its newest derivation.
local function has_ended(id)
  local status, derivation = unpack(redis.call('HMGET', record(id), 'status', 'derivation_status'))
  if status == 'SUCCESS' then status = derivation or status end
  return not status or HIDDEN[status] or TERMINAL[status]
end

-- The token of the lease on an upload's job, nil where it has none. Tokens end with the number of the attempt; of an
-- earlier one was left by a version before 0.1.0. Before that, those of a derivation have r and its revision.
local function lease_of(id)
  local fields = redis.call('HMGET', record(id), 'status', 'attempt', 'lease', 'owner', 'derivation_status')
  local status, attempt, lease, earlier, derivation = unpack(fields)
  if status == 'SUCCESS' then return derivation == 'PROGRESS' and lease or nil end
  if status ~= 'PROGRESS' then return nil end
  for _, token in ipairs({lease or '', is_token(earlier) and earlier or ''}) do
    if token:match(':(%d+)$') == attempt then return token end
  end
end

-- The host of a URL, with its port where that is given, however its name is written; and the scheme.
local function authority_of(url)
  local scheme, authority = url:lower():match('^(%a+)://([^/?#]*)')
  return (authority or ''):gsub('%.(:?%d*)$', '%1'), scheme
end

-- What a change of an upload is decided on: no change comes of what another one has changed since (record.py).
local function version_of(id)
  local fields = redis.call('HMGET', record(id), 'status', 'derivation', 'derivation_status', 'changed')
  for at = 1, 4 do fields[at] = fields[at] or '' end
  return table.concat(fields, ' ')
end

local function drop_lease(id)
  redis.call('HDEL', record(id), 'lease')
  if is_token(redis.call('HGET', record(id), 'owner')) then redis.call('HDEL', record(id), 'owner') end
end

-- Whether readers see an upload of this status.
local function is_visible(status) return status and not HIDDEN[status] end

-- Has the sweeper look at an upload at `at_ms`, or earlier where it would anyway.
local function sweep_at(id, at_ms)
  redis.call('ZADD', SWEEP, 'LT', at_ms, id)
end

-- Has the sweeper look at an upload soon, and again until no process can write to it any more: S3 may complete a put
-- long after its sender was asked to stop.
local function settle(id)
  sweep_at(id, now_ms() + FIRST_LOOK_MS)
  redis.call('ZADD', SETTLING, now_ms() + SETTLE_MS, id)
end

-- Has the files of a revision removed that its upload's record does not have: soon, and again when no process can store
-- any more.
local function discard(id, revision)
  local member = table.concat({id, revision, string.format('%d', now_ms() + SETTLE_MS)}, ':')
  redis.call('ZADD', OBSOLETE, now_ms() + FIRST_LOOK_MS, member)
end

local function list(status, owner) return PREFIX .. 'list:' .. status .. ':' .. owner end

-- Has all followers of an upload read its record again.
local function notify(id) redis.call('PUBLISH', EVENTS, id) end

-- The status of an upload and its owner.
local function standing_of(id)
  local status, owner, earlier = unpack(redis.call('HMGET', record(id), 'status', 'owner', 'belongs_to'))
  return status, owner_in(owner, earlier)
end

-- Whether readers who act for `owner`, who may stand for all of them, see an upload.
local function is_seen_by(id, owner)
  local status, its_owner = standing_of(id)
  return is_visible(status) and (owner == ANYBODY or its_owner == owner)
end

local function unlist(id)
  local status, owner = standing_of(id)
  if status then redis.call('ZREM', list(status, owner), id) end
  for _, set in ipairs({ALL, UNSUCCESSFUL.FAILURE, UNSUCCESSFUL.CANCELLED}) do redis.call('ZREM', set, id) end
end

-- Moves an upload's job to a status, which it may have already: in its record, on its owner's lists, and for all who
-- follow it. Whatever becomes of a derivation, the upload stays where it is. Returns the list that it is on now.
local function move(id, status)
  local before, created_at, owned_by, earlier =
    unpack(redis.call('HMGET', record(id), 'status', 'created_at', 'owner', 'belongs_to'))
  local owner = owner_in(owned_by, earlier)
  if job_in(before) == DERIVED then
    redis.call('HSET', record(id), 'derivation_status', status)
    status = before
  end
  local now_on = list(status, owner)
  redis.call('ZREM', list(before, owner), id)
  redis.call('HSET', record(id), 'status', status)
  redis.call('ZADD', now_on, created_at, id)
  notify(id)
  return now_on
end

-- Drops from a list of ended jobs those whose records have expired since; it expires itself with the last of them.
local function trim(ended, ttl_s)
  local before = now_ms() - 1000 * ttl_s
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', ended, '-inf', before, 'LIMIT', 0, 100)) do
    if redis.call('EXISTS', record(id)) == 0 then redis.call('ZREM', ended, id) end
  end
  redis.call('EXPIRE', ended, ttl_s)
end

-- Whether a token still holds the job's lease. It no longer does once another worker has claimed the job, the job has
-- ended, or the upload was deleted.
local function owns(id, token) return lease_of(id) == token end
