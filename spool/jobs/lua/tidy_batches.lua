#!lua flags=allow-oom
-- Removes expired batches from an owner's list. A key of another type in the list's place is displaced.
--[[ARGUMENTS owner batches...]]
local name = 'batches:' .. owner
index('ZCARD', name)
for i = batches_at, #ARGV do
  if redis.call('EXISTS', P .. 'batch:' .. ARGV[i]) == 0 then index('ZREM', name, ARGV[i]) end
end
return 1
