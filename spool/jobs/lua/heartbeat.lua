#!lua flags=allow-oom
-- Renews the leases of a worker's running jobs, reports its free slots, and ends cancelled jobs.
-- Arguments:
--   free       free slots; -1: the worker is shutting down
--   known_run  run_id of the server that the worker knows
--   is_last    1 if these are the last of its jobs and no earlier one was unclaimed
--   slots      its total slots
--   jobs       for each job: id, fence, last id known to be committed, last id sent (larger than every id after a
--              hand-back: others may have written beyond what this worker knows)
-- Answers {run_id of the server, number of quarantined jobs that wait, then for each job one of:
--   whole      held, and its log is complete on the server run that the worker knows
--   ok         held
--   cancelled
--   lost       another fence holds the job, or it has ended or is missing
--   unclaimed  no worker holds the job
--   error      the job could not be handled
--   N          the log's last id: entries after it are missing}
--[[ARGUMENTS lease_ms:number worker free:number known_run is_last:flag slots jobs...]]
-- A worker's report on its logs counts only if the worker knows this run. A call resent after a restart of Redis
-- describes an earlier moment: since then the worker may have sent more, or handed the job back.
local has_met = known_run == RUN_ID

local function cancel(id)
  --[[LIBRARY]]
  end_cancelled(id)
  return 'cancelled'
end

local function beat(id, fence, acked, sent)
  local key = job_key(id)
  local record = fields(id, 'fence', 'status', 'cancel_ms', 'model', 'last', 'server', 'leased_until_ms')
  local status = record.status
  if status == 'cancelled' then return 'cancelled' end
  if status == 'queued' then return 'unclaimed' end
  if not status and has_met then index('HSET', 'server', 'jobs_lost_on', RUN_ID) end
  if status and not TRANSITIONS[status] then error('status ' .. status .. ' is not a state of a job') end
  if record.fence ~= fence or status ~= 'running' then return 'lost' end
  if record.cancel_ms then
    return cancel(id)
  end
  if (record.leased_until_ms or 0) - NOW < lease_ms * 0.85 then
    redis.call('HSET', key, 'leased_until_ms', NOW + lease_ms)
    index('ZADD', 'running:' .. record.model, NOW + lease_ms, id)
  end
  local last = tonumber(record.last)
  if last < acked then return last end
  if not has_met then return 'ok' end
  if record.server ~= RUN_ID then
    -- Missing sent entries may have been committed before: readers saw them, then the answer and the entries were lost.
    -- The worker resends them.
    if last < sent then return 'ok' end
    redis.call('HSET', key, 'server', RUN_ID)
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
  index('HSET', 'capacity', worker, slots or 0)
end
local answers, is_settled = {RUN_ID, index('ZCARD', 'quarantine')}, has_met and is_last
for i = jobs_at, #ARGV, 4 do
  local answer = beat_or_end(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
  is_settled = is_settled and answer ~= 'unclaimed'
  answers[#answers + 1] = answer
end
if is_settled then
  index('SREM', 'unconfirmed_workers', worker)
end
return answers
