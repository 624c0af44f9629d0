#!lua flags=no-writes
-- Answers which of these jobs may have this status, batch, model and metadata ('': any). `metadata` is a piece of the
-- JSON text as it is stored: a name, or a name and its value. A record without a readable status may have any, because
-- a look may end its job.
--[[ARGUMENTS status batch model metadata ids...]]
local found = {}
for i = ids_at, #ARGV do
  local fields = redis.pcall('HMGET', job_key(ARGV[i]), 'status', 'batch', 'model')
  local its_status, its_batch, its_model = fields[1], fields[2] or '', fields[3]
  if not TRANSITIONS[its_status or ''] then
    found[#found + 1] = ARGV[i]
  elseif (status == '' or its_status == status) and (batch == '' or its_batch == batch)
    and (model == '' or its_model == model) then
    -- The metadata may be several KB, so it is read last. A text that contains the piece only by chance is left to the
    -- caller, which compares.
    if metadata == '' or string.find(redis.call('HGET', job_key(ARGV[i]), 'metadata') or '', metadata, 1, true) then
      found[#found + 1] = ARGV[i]
    end
  end
end
return found
