#!lua flags=allow-oom
-- A worker gives up a job that it holds. ARGV: id, fence, 1 if it counts as an attempt, max_attempts,
-- reason (a word), message, 1 if the answer is to begin anew although it could be gone on with.
-- Answers what became of it: queued, failed, cancelled, or lost (it was not this fence's any more).
local record = redis.call('HMGET', job_key(ARGV[1]), 'fence', 'status')
if record[1] ~= ARGV[2] or record[2] ~= 'running' then
  return record[2] == 'cancelled' and 'cancelled' or 'lost'
end
if ARGV[7] == '1' then
  redis.call('HSET', job_key(ARGV[1]), 'plain', 0)
end
return retry(ARGV[1], tonumber(ARGV[4]), {costs = tonumber(ARGV[3]), reason = ARGV[5], message = ARGV[6]})
