#!lua
-- Seals a staged batch after all its lines are written: claims find its jobs from now on.
-- ARGV: id, owner, models of its jobs.
-- Answers sealed; or gone (it was abandoned, or lines are missing).
local id, owner = ARGV[1], ARGV[2]
local key = P .. 'batch:' .. id
local record = index('HMGET', 'batch:' .. id, 'staging', 'total')
if not record[2] or record[1] == 'dropped' then
  return 'gone'
end
if not record[1] then
  return 'sealed'
end
if index('LLEN', 'batch:' .. id .. ':jobs') < tonumber(record[2]) then
  return 'gone'
end
redis.call('HDEL', key, 'staging')
index('ZREM', 'staging', id)
unbook(id)
for i = 3, #ARGV do
  refresh(flow_of(owner, ARGV[i]), id, flow_of(id, ARGV[i]), true)
  refresh('heads:' .. ARGV[i], owner, flow_of(owner, ARGV[i]), true)
end
return 'sealed'
