#!lua flags=no-writes,allow-stale
-- One job as it is now. ARGV: id, 1 with its text. Answers {position in its model's queue or false, text, record…},
-- or the owner on its tombstone, or nothing.
local key = job_key(ARGV[1])
local record = redis.call('HGETALL', key)
if #record == 0 then
  return redis.call('GET', key .. ':gone')
end
local status, model
for i = 1, #record, 2 do
  if record[i] == 'status' then status = record[i + 1] end
  if record[i] == 'model' then model = record[i + 1] end
end
-- What waits for a process of its own is in nobody's queue.
local position = status == 'queued' and (redis.call('ZRANK', P .. 'pending:' .. model, ARGV[1]) or 0)
table.insert(record, 1, position or false)
table.insert(record, 2, ARGV[2] == '1' and redis.call('GET', key .. ':text') or '')
return record
