#!lua flags=allow-oom
-- Hands a job back on behalf of its worker.
-- ARGV: id, fence, 1 if it counts as an attempt, max_attempts, reason (a word), message, 1 to restart even an answer
-- that could be continued.
-- Answers the job's new state: queued, failed, cancelled; or lost (this fence no longer holds it).
local id = ARGV[1]
local verdict, fault, record = judge(id)
if verdict == 'damaged' then
  end_damaged(id, fault)
  return 'lost'
end
if verdict == 'missing' or record.fence ~= ARGV[2] or record.status ~= 'running' then
  return record and record.status == 'cancelled' and 'cancelled' or 'lost'
end
if ARGV[7] == '1' then
  redis.call('HSET', job_key(id), 'plain', 0)
end
local loss = {costs = tonumber(ARGV[3]), reason = ARGV[5], message = ARGV[6]}
local ok, became = pcall(retry, id, tonumber(ARGV[4]), loss)
if not ok then
  end_after(id, became)
  return 'lost'
end
return became
