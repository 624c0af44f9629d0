#!lua flags=no-writes,allow-stale
-- Reads one job. `text_bytes`: maximum bytes of its text (0: none, -1: all).
-- Answers one of:
--   {position in its model's queue or false (it runs, has ended, or is held), text, total bytes of the text if it may be cut (else false), the record's
--   values (spool.jobs.job, FIELDS)}; of a packed log that has the text alone: its last bytes, and the word packed
--   the owner on its tombstone
--   nothing, if the job does not exist
--   0, if a key of another type is in the record's place
--[[ARGUMENTS id text_bytes:number]]
local key = job_key(id)
local values = redis.pcall('HMGET', key, --[[JOB_FIELDS]], 'schema', 'status', 'model')
if error_of(values) then
  if string.find(error_of(values), 'WRONGTYPE', 1, true) then return 0 end
  error(error_of(values))
end
local model, status, schema = table.remove(values), table.remove(values), table.remove(values)
if not status and redis.call('EXISTS', key) == 0 then
  local owner = redis.pcall('GET', key .. ':gone')
  return type(owner) == 'string' and owner
end
-- Quarantined jobs, held jobs, and jobs that wait for a newer version, are in no model's queue.
local position = status == 'queued' and redis.pcall('ZRANK', P .. 'pending:' .. (model or ''), id)
local text = text_bytes ~= 0 and redis.pcall('GETRANGE', key .. ':text', 0, text_bytes < 0 and -1 or text_bytes - 1) or ''
local is_beginning = text_bytes > 0 and type(text) == 'string' and #text == text_bytes
if text == '' and text_bytes ~= 0 and tonumber(schema) == PACKED then
  local packed = redis.pcall('GETRANGE', key .. ':log', -PACKED_TAIL_BYTES, -1)
  return {false, type(packed) == 'string' and packed or '', 'packed', values}
end
local is_held = type(position) ~= 'number' and bounded(schema, 3, 9)
return {status == 'queued' and not is_held and (tonumber(position) or 0), type(text) == 'string' and text or '',
  is_beginning and redis.call('STRLEN', key .. ':text'), values}
