#!lua flags=allow-oom
-- Leases ended jobs whose logs are to be packed.
-- Arguments: after_ms is the age of an end at which it is packed, lease_ms how long no other worker gets these jobs, most
-- the number of jobs.
-- Answers false while a worker of a version that does not read packed logs is alive; else for each job its id, last
-- and attempt_first.
--[[ARGUMENTS after_ms:number lease_ms:number most:number]]
for _, worker in ipairs(index('ZRANGEBYSCORE', 'workers', NOW, '+inf')) do
  if not string.find(worker, ':p%-%x+$') then return false end
end
local found = {}
for _, id in ipairs(index('ZRANGEBYSCORE', 'unpacked', '-inf', NOW - after_ms, 'LIMIT', 0, most)) do
  index('ZADD', 'unpacked', NOW - after_ms + lease_ms, id)
  local record = fields_if_any(job_key(id), 'last', 'attempt_first')
  found[#found + 1] = {id, record.last or '', record.attempt_first or '1'}
end
return found
