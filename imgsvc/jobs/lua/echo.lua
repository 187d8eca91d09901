-- Publishes a message, so that a subscriber can check that it receives any.
-- Guarantees: fails if this Redis takes no writes because it is not the primary: subscribers of another server would
-- receive nothing.
-- ARGV: message
local noted = note_time(now_ms())
if type(noted) == 'table' and noted.err and not noted.err:find('OOM') then return noted end
redis.call('PUBLISH', ECHO, ARGV[1])
return redis.status_reply('OK')
