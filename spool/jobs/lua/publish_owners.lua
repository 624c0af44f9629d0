#!lua flags=allow-oom
-- Stores the limits of owners from this web's owners file, for claims by workers.
-- Arguments: digest is that of the limits ('' without a file); owners are each owner ('' for all others) and its limits
-- as JSON, or none, to find out whether they are needed.
-- Answers 1 if Redis has the limits with this digest, 0 if they are needed.
--[[ARGUMENTS digest owners...]]
local has_them = digest == '' or redis.call('EXISTS', P .. 'owner-limits') == 1
if has_them and (index('HGET', 'limits', 'owners') or '') == digest then return 1 end
if digest ~= '' and owners_at > #ARGV then return 0 end
redis.call('DEL', P .. 'owner-limits')
for i = owners_at, #ARGV, 2 do
  index('HSET', 'owner-limits', ARGV[i], ARGV[i + 1])
end
index('HSET', 'limits', 'owners', digest)
return 1
