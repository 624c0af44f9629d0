#!lua flags=no-writes,allow-stale
-- One job as it is now. ARGV: id; how many bytes of its text, 0 for none, -1 for all. Answers {position in its model's queue
-- or false, text, how many bytes it has where this is its beginning (else false), the record's values (spool.jobs.job, FIELDS)},
-- or the owner on its tombstone, or nothing; or 0 where something else stands in the record's place.
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
-- What waits for a process of its own is in nobody's queue; nor is what waits for a newer version.
local position = status == 'queued' and redis.pcall('ZRANK', P .. 'pending:' .. (model or ''), ARGV[1]) or 0
local most = tonumber(ARGV[2])
local text = most ~= 0 and redis.pcall('GETRANGE', key .. ':text', 0, most < 0 and -1 or most - 1) or ''
local is_beginning = most > 0 and type(text) == 'string' and #text == most
return {status == 'queued' and (tonumber(position) or 0), type(text) == 'string' and text or '',
  is_beginning and redis.call('STRLEN', key .. ':text'), values}
