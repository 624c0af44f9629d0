#!lua flags=allow-oom
-- Renames a key of another type in the place of the switches, and keeps it for `kept_ms`. Answers whether there was one.
-- In one step: between a look and a RENAME, another process may have written switches there.
local name = KEYS[1] .. 'switches'
local found = redis.call('TYPE', name).ok
if found == 'hash' or found == 'none' then return 0 end
redis.call('RENAME', name, KEYS[1] .. 'displaced:switches')
redis.call('PEXPIRE', KEYS[1] .. 'displaced:switches', ARGV[1])
return 1
