-- Packed logs (spool.jobs.packing): some seconds after a job's end, one string takes the place of its stream and its text.
local PACKED = tonumber('--[[PACKED]]')
local PACKED_TAIL_BYTES = tonumber('--[[PACKED_TAIL_BYTES]]')

-- The id and the kind of a packed log's last entry; nothing if the log is not packed.
local function end_of_packed(id)
  --[[LIBRARY]]
  local tail = redis.pcall('GETRANGE', job_key(id) .. ':log', -96, -1)
  if type(tail) ~= 'string' then return nil end
  local last, kind = string.match(tail, '\nspool%-log 1 %d+ %d+ [%d-]+ (%d+) (%l+)\n$')
  return tonumber(last), kind
end
