#!lua flags=allow-oom
-- Renews the leases of a worker's running jobs, reports its free slots, and ends cancelled jobs.
-- ARGV:
--   lease_ms, worker,
--   free slots (-1: the worker is shutting down),
--   run_id of the server that the worker knows,
--   1 if these are the last of its jobs and no earlier one was unclaimed,
--   its total slots;
--   then for each job: id, fence, last id known to be committed, last id sent (larger than every id after a hand-back:
--   others may have written beyond what this worker knows).
-- Answers {run_id of the server, number of quarantined jobs that wait, then for each job one of:
--   whole      held, and its log is complete on the server run that the worker knows
--   ok         held
--   cancelled
--   lost       another fence holds the job, or it has ended or is missing
--   unclaimed  no worker holds the job
--   error      the job could not be handled
--   N          the log's last id: entries after it are missing}
local lease_ms, worker, free = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
-- A worker's report on its logs counts only if the worker knows this run. A call resent after a restart of Redis
-- describes an earlier moment: since then the worker may have sent more, or handed the job back.
local has_met = ARGV[4] == run_id()

local function cancel(id)
  --[[LIBRARY]]
  end_cancelled(id)
  return 'cancelled'
end

local function beat(id, fence, acked, sent)
  local key = job_key(id)
  local record = redis.call('HMGET', key, 'fence', 'status', 'cancel_ms', 'model', 'last', 'server', 'leased_until_ms')
  if record[2] == 'cancelled' then return 'cancelled' end
  if record[2] == 'queued' then return 'unclaimed' end
  if record[2] and not TRANSITIONS[record[2]] then error('status is no state of a job') end
  if record[1] ~= fence or record[2] ~= 'running' then return 'lost' end
  if record[3] then
    return cancel(id)
  end
  if (record[7] or 0) - NOW < lease_ms * 0.85 then
    redis.call('HSET', key, 'leased_until_ms', NOW + lease_ms)
    index('ZADD', 'running:' .. record[4], NOW + lease_ms, id)
  end
  local last = tonumber(record[5])
  if last < acked then return last end
  if not has_met then return 'ok' end
  if record[6] ~= run_id() then
    -- Missing sent entries may have been committed before: readers saw them, then the answer and the entries were lost.
    -- The worker resends them.
    if last < sent then return 'ok' end
    redis.call('HSET', key, 'server', run_id())
  end
  return 'whole'
end

-- A job with a damaged record ends or is set aside. Either way this worker loses it.
local function beat_or_end(...)
  local ok, answer = pcall(beat, ...)
  if ok then return answer end
  return is_lost_after((...)) and 'lost' or 'error'
end

meet_server()
if free < 0 then
  index('ZREM', 'workers', worker)
  index('HDEL', 'slots', worker)
  index('HDEL', 'capacity', worker)
else
  index('ZADD', 'workers', NOW + lease_ms, worker)
  index('HSET', 'slots', worker, free)
  index('HSET', 'capacity', worker, ARGV[6] or 0)
end
local answers, is_settled = {run_id(), index('ZCARD', 'apart')}, has_met and ARGV[5] == '1'
for i = 7, #ARGV, 4 do
  local answer = beat_or_end(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
  is_settled = is_settled and answer ~= 'unclaimed'
  answers[#answers + 1] = answer
end
if is_settled then
  index('SREM', 'unheard', worker)
end
return answers
