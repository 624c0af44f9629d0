#!lua flags=allow-oom
-- Renews the leases of a process's living jobs, says how many slots it has free, and ends what was cancelled.
-- ARGV: lease_ms, worker, free slots (-1: the worker is going away); then id and fence of each job.
-- Answers for each job: ok, cancelled, or lost.
local lease_ms, worker, free = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local function beat(id, fence)
  local key = job_key(id)
  local record = redis.call('HMGET', key, 'fence', 'status', 'cancel_ms', 'model')
  if record[2] == 'cancelled' then return 'cancelled' end
  if record[1] ~= fence or record[2] ~= 'running' then return 'lost' end
  if record[3] then
    end_cancelled(id)
    return 'cancelled'
  end
  redis.call('HSET', key, 'leased_until_ms', NOW + lease_ms)
  redis.call('ZADD', P .. 'running:' .. record[4], NOW + lease_ms, id)
  return 'ok'
end

if free < 0 then
  redis.call('ZREM', P .. 'workers', worker)
  redis.call('HDEL', P .. 'slots', worker)
else
  redis.call('ZADD', P .. 'workers', NOW + lease_ms, worker)
  redis.call('HSET', P .. 'slots', worker, free)
end
local answers = {}
for i = 4, #ARGV, 2 do
  local ok, answer = pcall(beat, ARGV[i], ARGV[i + 1])
  answers[#answers + 1] = ok and answer or 'error'
end
return answers
