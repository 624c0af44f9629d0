#!lua flags=no-writes,allow-stale
-- Reads one job. ARGV: id, maximum bytes of its text (0: none, -1: all).
-- Answers one of:
--   {position in its model's queue or false, text, total bytes of the text if it may be cut (else false), the record's
--   values (spool.jobs.job, FIELDS)}
--   the owner on its tombstone
--   nothing, if the job does not exist
--   0, if a key of another type is in the record's place
local key = job_key(ARGV[1])
local values = redis.pcall('HMGET', key, --[[JOB_FIELDS]], 'status', 'model')
if error_of(values) then
  if string.find(error_of(values), 'WRONGTYPE', 1, true) then return 0 end
  error(error_of(values))
end
local model, status = table.remove(values), table.remove(values)
if not status and redis.call('EXISTS', key) == 0 then
  local owner = redis.pcall('GET', key .. ':gone')
  return type(owner) == 'string' and owner
end
-- Quarantined jobs, and jobs that wait for a newer version, are in no model's queue.
local position = status == 'queued' and redis.pcall('ZRANK', P .. 'pending:' .. (model or ''), ARGV[1]) or 0
local most = tonumber(ARGV[2])
local text = most ~= 0 and redis.pcall('GETRANGE', key .. ':text', 0, most < 0 and -1 or most - 1) or ''
local is_beginning = most > 0 and type(text) == 'string' and #text == most
return {status == 'queued' and (tonumber(position) or 0), type(text) == 'string' and text or '',
  is_beginning and redis.call('STRLEN', key .. ':text'), values}
