#!lua flags=allow-oom
-- Leases jobs or batches that have ended and whose logs are to be packed.
-- Arguments: index_name is unpacked or unpacked-batches, after_ms the age of an end at which its log is packed, lease_ms how long
-- no other worker gets these, most their number.
-- Answers false while a worker of a version that does not read packed logs is alive; else for each its id, last and
-- attempt_first.
--[[ARGUMENTS index_name after_ms:number lease_ms:number most:number]]
for _, worker in ipairs(index('ZRANGEBYSCORE', 'workers', NOW, '+inf')) do
  if not string.find(worker, ':p%-%x+$') then return false end
end
local found = {}
for _, id in ipairs(index('ZRANGEBYSCORE', index_name, '-inf', NOW - after_ms, 'LIMIT', 0, most)) do
  index('ZADD', index_name, NOW - after_ms + lease_ms, id)
  local record = fields_if_any(index_name == 'unpacked' and job_key(id) or P .. 'batch:' .. id, 'last', 'attempt_first')
  found[#found + 1] = {id, record.last or '', record.attempt_first or '1'}
end
return found
