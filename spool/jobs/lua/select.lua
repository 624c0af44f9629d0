#!lua flags=no-writes
-- Answers which of these jobs may have this status and belong to this batch ('': any). A record without a readable
-- status may have any, because a look may end its job.
--[[ARGUMENTS status batch ids...]]
local found = {}
for i = ids_at, #ARGV do
  local fields = redis.pcall('HMGET', job_key(ARGV[i]), 'status', 'batch')
  local its_status, its_batch = fields[1], fields[2] or ''
  if not TRANSITIONS[its_status or '']
    or (status == '' or its_status == status) and (batch == '' or its_batch == batch) then
    found[#found + 1] = ARGV[i]
  end
end
return found
