#!lua flags=allow-oom
-- Deletes a batch that has ended, with its lines and its log. Jobs that it has kept stay.
-- Answers deleted, missing, or running.
--[[ARGUMENTS id owner]]
local name = 'batch:' .. id
local its = fields_if_any(P .. name, 'owner', 'status', 'total', 'ended', 'lanes', 'idempotency')
if not its.total or its.owner ~= owner then
  return 'missing'
end
local old_ended = not its.status and index('LLEN', name .. ':ended')
if is_begun(its.status) or old_ended and old_ended < tonumber(its.total) then
  return 'running'
end
note_batch_change(id, 'deleted')
forget_deliveries(id, owner)
for _, one in ipairs(keys_of_lines(id, its.lanes)) do redis.call('DEL', P .. one) end
redis.call('DEL', P .. name, P .. name .. ':log', P .. name .. ':jobs', P .. name .. ':ended')
index('ZREM', 'batches:' .. owner, id)
unbook(id)
index('ZREM', 'expiring', owner .. ' ' .. id)
index('ZREM', 'unpacked-batches', id)
if its.idempotency and its.idempotency ~= '' then redis.call('DEL', P .. 'idempotency:' .. its.idempotency) end
return 'deleted'
