#!lua
-- Seals a staged batch after all its lines are written: claims find its jobs from now on.
-- Answers sealed; or gone (it was abandoned, or lines are missing).
--[[ARGUMENTS id]]
local key = P .. 'batch:' .. id
local record = index_fields('batch:' .. id, 'staging', 'total', 'owner')
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
if record.owner then
  list_batch(record.owner, id)
end
index('ZREM', 'staging', id)
unbook(id)
for _, place in ipairs(index('SMEMBERS', 'batch:' .. id .. ':flows')) do
  local flow, model = string.match(place, '^(%S+) (.*)$')
  local who = {batch = id, flow = flow, model = model}
  local first = flow and index('ZRANGE', batch_flow_of(who), 0, 0, 'WITHSCORES') or {}
  if first[2] then join(flow, model, id, first[2]) end
end
redis.call('DEL', key .. ':flows')
return 'sealed'
