#!lua flags=no-writes,allow-stale
-- One job as it is now. ARGV: id; how many bytes of its text, 0 for none, -1 for all. Answers {position in its model's queue or false, text, record…},
-- or the owner on its tombstone, or nothing; or 0 where something else stands in the record's place.
local key = job_key(ARGV[1])
local record = redis.pcall('HGETALL', key)
if error_of(record) then
  if string.find(error_of(record), 'WRONGTYPE', 1, true) then return 0 end
  error(error_of(record))
end
if #record == 0 then
  local owner = redis.pcall('GET', key .. ':gone')
  return type(owner) == 'string' and owner
end
local status, model
for i = 1, #record, 2 do
  if record[i] == 'status' then status = record[i + 1] end
  if record[i] == 'model' then model = record[i + 1] end
end
-- What waits for a process of its own is in nobody's queue; nor is what waits for a newer version.
local position = status == 'queued' and redis.pcall('ZRANK', P .. 'pending:' .. (model or ''), ARGV[1]) or 0
local most = tonumber(ARGV[2])
local text = most ~= 0 and redis.pcall('GETRANGE', key .. ':text', 0, most < 0 and -1 or most - 1) or ''
if most > 0 and type(text) == 'string' and #text == most then
  -- Only its beginning: how long it is as well.
  record[#record + 1], record[#record + 2] = 'text_bytes', tostring(redis.call('STRLEN', key .. ':text'))
end
table.insert(record, 1, status == 'queued' and (tonumber(position) or 0))
table.insert(record, 2, type(text) == 'string' and text or '')
return record
