#!lua flags=allow-oom
-- The keeper's round: lost leases, passed deadlines, expired jobs; and what there is to ring for.
-- ARGV: lease_ms, max_attempts, the most of each kind to handle in one round, beat_ms (how often rounds come).
-- Answers {pending, free slots, jobs taken over from lost workers, jobs ended as overdue, jobs that could not be
-- handled, patient (1: leases are not judged yet)}, or nothing where another process keeps this shard.
local lease_ms, max_attempts, most, beat_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not redis.call('SET', P .. 'keeper:lock', 1, 'NX', 'PX', beat_ms) then
  return false
end

-- After a restart of Redis, or a gap in the beat (Redis paused, or nobody kept), the owners could not renew their
-- leases either: they get one lease to do so before anybody judges.
local function is_patient()
  local record = redis.call('HMGET', P .. 'keeper', 'beat_ms', 'patient_until_ms', 'run_id')
  local patient_until = tonumber(record[2] or 0)
  local gap = NOW - tonumber(record[1] or 0)
  if run_id() ~= record[3] or gap > math.max(lease_ms / 2, 1.5 * beat_ms) then
    patient_until = NOW + lease_ms
  end
  redis.call('HSET', P .. 'keeper', 'beat_ms', NOW, 'patient_until_ms', patient_until, 'run_id', run_id())
  return patient_until > NOW
end

-- Does `act` to each of the index's ids that are due. An error in one stops no other: it is put off by a lease.
local function each_due(index, act, ...)
  local done, broken = 0, 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. index, '-inf', NOW, 'LIMIT', 0, most)) do
    local ok, counts = pcall(act, id, ...)
    if not ok then
      redis.call('ZADD', P .. index, NOW + lease_ms, id)
      broken = broken + 1
    elseif counts then
      done = done + 1
    end
  end
  return done, broken
end

local function take_over(id, model)
  if redis.call('HGET', job_key(id), 'status') ~= 'running' then
    redis.call('ZREM', P .. 'running:' .. model, id)
    return false
  end
  retry(id, max_attempts, {costs = 1, died = true, reason = 'worker_lost', message = 'its worker died'})
  return true
end

local function end_overdue(id)
  local record = redis.call('HMGET', job_key(id), 'status', 'cancel_ms', 'deadline_ms')
  if not record[1] or not next(TRANSITIONS[record[1]]) then
    redis.call('ZREM', P .. 'deadlines', id)
    return false
  elseif record[2] then
    end_cancelled(id)
  elseif tonumber(record[3]) > NOW then
    fail(id, 'start_timeout', 'no worker began the job in time', true)
  else
    fail(id, 'deadline_exceeded', 'the job did not end before its deadline', true)
  end
  return true
end

-- Jobs that were to end with their last reader, and that nobody reads any more on any instance.
local function end_unwatched(id)
  local status = redis.call('HGET', job_key(id), 'status')
  redis.call('ZREM', P .. 'watched', id)
  if status == 'queued' then
    end_cancelled(id)
  elseif status == 'running' then
    redis.call('HSETNX', job_key(id), 'cancel_ms', NOW)
  end
end

-- Cheap ones, so more of them.
local function forget_expired()
  for _, kept in ipairs(redis.call('ZRANGEBYSCORE', P .. 'kept', '-inf', NOW, 'LIMIT', 0, most * 10)) do
    local space = string.find(kept, ' ', 1, true)
    redis.call('ZREM', P .. 'owner:' .. string.sub(kept, 1, space - 1), string.sub(kept, space + 1))
    redis.call('ZREM', P .. 'kept', kept)
  end
end

local function free_slots()
  local free = 0
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '-inf', NOW)) do
    redis.call('ZREM', P .. 'workers', worker)
    redis.call('HDEL', P .. 'slots', worker)
  end
  for _, worker in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
    free = free + tonumber(redis.call('HGET', P .. 'slots', worker) or 0)
  end
  return free
end

meet_server()
local patient = is_patient()
local pending, taken_over, overdue, broken = 0, 0, 0, 0
for _, model in ipairs(redis.call('SMEMBERS', P .. 'models')) do
  if not patient then
    local done, errors = each_due('running:' .. model, take_over, model)
    taken_over, broken = taken_over + done, broken + errors
  end
  pending = pending + redis.call('ZCARD', P .. 'pending:' .. model)
end
local done, errors = each_due('deadlines', end_overdue)
overdue, broken = done, broken + errors
if not patient then
  -- Who reads could not say so either.
  done, errors = each_due('watched', end_unwatched)
  broken = broken + errors
end
forget_expired()
return {pending, free_slots(), taken_over, overdue, broken, patient and 1 or 0}
