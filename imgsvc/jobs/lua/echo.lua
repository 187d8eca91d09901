-- Says something to those who listen, so that one of them hears whether it is heard.
-- Guarantees: fails where this Redis takes no writes since it is not the primary: what listens to another one would hear
-- nothing for ever.
-- ARGV: what
local noted = note_time(now_ms())
if type(noted) == 'table' and noted.err and not noted.err:find('OOM') then return noted end
redis.call('PUBLISH', ECHO, ARGV[1])
return redis.status_reply('OK')
