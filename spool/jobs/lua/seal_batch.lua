#!lua
-- Seals a staged batch after all its lines are written: claims find its jobs from now on.
-- Answers sealed; or gone (it was abandoned, or lines are missing).
--[[ARGUMENTS id owner models...]]
local key = P .. 'batch:' .. id
local record = index_fields('batch:' .. id, 'staging', 'total')
if not record.total or record.staging == 'dropped' then
  return 'gone'
end
if not record.staging then
  return 'sealed'
end
if index('LLEN', 'batch:' .. id .. ':jobs') < tonumber(record.total) then
  return 'gone'
end
redis.call('HDEL', key, 'staging')
index('ZREM', 'staging', id)
unbook(id)
for i = models_at, #ARGV do
  refresh(flow_of(owner, ARGV[i]), id, flow_of(id, ARGV[i]), true)
  refresh('heads:' .. ARGV[i], owner, flow_of(owner, ARGV[i]), true)
end
return 'sealed'
