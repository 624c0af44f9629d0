#!lua flags=allow-oom
-- Keeps the size of a file of a batch that has ended. Answers whether it was kept.
--[[ARGUMENTS id field size]]
local its = fields_if_any(P .. 'batch:' .. id, 'status', 'ended_ms')
if not its.status or is_begun(its.status) or not its.ended_ms then
  return 0
end
redis.call('HSET', P .. 'batch:' .. id, field, size)
return 1
