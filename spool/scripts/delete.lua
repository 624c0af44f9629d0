#!lua flags=allow-oom
-- Forgets a job that has ended; its tombstone stays. ARGV: id, owner.
-- Answers deleted, running (it has not ended), gone (it was here), or nothing.
local key = job_key(ARGV[1])
local record = redis.call('HMGET', key, 'owner', 'status', 'idempotency')
if not record[1] then
  return redis.call('GET', key .. ':gone') == ARGV[2] and 'gone'
end
if record[1] ~= ARGV[2] then
  return false
end
if next(TRANSITIONS[record[2]]) then
  return 'running'
end
redis.call('DEL', key, key .. ':input', key .. ':log', key .. ':text')
redis.call('ZREM', P .. 'owner:' .. ARGV[2], ARGV[1])
redis.call('ZREM', P .. 'kept', ARGV[2] .. ' ' .. ARGV[1])
if record[3] and record[3] ~= '' then
  redis.call('DEL', P .. 'idempotency:' .. record[3])
end
return 'deleted'
