#!lua flags=allow-oom
-- Renews the leases of a process's living jobs, says how many slots it has free, and ends what was cancelled.
-- ARGV: lease_ms, worker, free slots (-1: the worker is going away), the run of the server as the worker knows it, 1 if
-- these are the last of its jobs and none before was unclaimed, its slots in all; then id, fence, last id that is known to be committed,
-- and last id that was sent, of each job (beyond every id where the attempt was given up: nobody knows how far others
-- went on with its job).
-- Answers {run of the server, jobs that wait for a process of their own, then for each job: whole (held, and its log is
-- known to be whole on the run that the worker has met), ok (held), cancelled, lost, unclaimed (nobody holds it), or the
-- log's last id where entries are missing}.
local lease_ms, worker, free = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
-- What a worker says of its logs counts once it has met this run: a call that was on its way when Redis went down, and
-- was sent again, tells of a moment before, since when it may have sent more, or given the job up.
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
    -- What was sent and is not there may have been: readers saw it, the answer was lost, then the entry. It comes again.
    if last < sent then return 'ok' end
    redis.call('HSET', key, 'server', run_id())
  end
  return 'whole'
end

-- A job whose record is damaged ends, or is set aside: either way it is this worker's no more.
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
