-- A job's state machine: the transitions, the end of a job, and its attempts.
local TRANSITIONS = {--[[TRANSITIONS]]}
local ATTEMPTS_KEPT = 100
-- The jobs of a batch that keeps none exist for this long after their ends.
local LINE_TTL_MS = 60000

-- Changes a job's state by the transition table, and updates the counts of its batch and its owner's usage.
-- `record` needs status, output_at_most and the fields for `who_of`. The extra arguments are names and values of record
-- fields to set together with the state. Answers the previous state.
local function move(id, record, to, ...)
  local key = job_key(id)
  local from, batch = record.status, record.batch
  if not (TRANSITIONS[from] and TRANSITIONS[from][to]) then
    error('job ' .. id .. ': no way from ' .. tostring(from) .. ' to ' .. to)
  end
  redis.call('HSET', key, 'status', to, ...)
  if batch and batch ~= '' and redis.call('TYPE', P .. 'batch:' .. batch).ok == 'hash' then
    -- A count that is not a number stays unchanged, because it must not make the job's transition fail.
    redis.pcall('HINCRBY', P .. 'batch:' .. batch, from, -1)
    redis.pcall('HINCRBY', P .. 'batch:' .. batch, to, 1)
  end
  local who = who_of(record)
  book_state(id, who, from, to, bounded(record.output_at_most, 0, 1e12, 0))
  if class_of(record) == 'batch' and (from == 'running' or to == 'running') then
    index(to == 'running' and 'SADD' or 'SREM', 'batch-running:' .. who.model, id)
  end
  if from == 'running' or to == 'running' then
    local owner, key = owner_and_key(who.flow)
    count_running(id, owner, key, who.model, to == 'running')
    if from == 'running' then unpark_after(who.flow) end
  end
  if has_event_readers(who.owner) then note_change(id, who.owner) end
  return from
end

-- Appends `restarted` to a log that lost history, before an end that does not come from its worker: the text seen by readers no
-- longer counts.
local function announce_loss(id)
  --[[LIBRARY]]
  local record = fields(id, 'history_lost', 'server', 'status', 'last', 'attempt')
  if not has_lost_history(record) then return end
  local key = job_key(id)
  local first = id_after_jump(id, tonumber(record.last))
  if record.status == 'running' then
    note_lost_attempt(id)
    redis.call('HSET', key, 'usage_noted', record.attempt)
  end
  -- At least 1: a job without a known attempt may have had one on an unconfirmed worker.
  local attempt = math.max(1, record.attempt)
  redis.call('DEL', key .. ':text')
  redis.call('HSET', key, 'attempt', attempt, 'attempt_first', first, 'server', RUN_ID)
  redis.call('HDEL', key, 'history_lost')
  push(id, 'restarted', ',"attempt":' .. attempt .. ',"reason":"redis_lost_history"', first)
end

-- Updates the average time for which a model's jobs run. Skips small changes, which are not worth a write.
local function note_run(model, ms)
  local average = bounded(index('HGET', 'run-ms', model), 0, 1e9, ms)
  local new = math.ceil(average + (ms - average) / 10)
  if average == ms or math.abs(new - average) > average / 50 then
    index('HSET', 'run-ms', model, new)
  end
end

-- Settles what an attempt has reserved of the rates of its model and its owner.
local function give_back(id, record, used)
  --[[LIBRARY]]
  if record.reserved then settle_rates(id, record.model, record.reserved, used) end
  if record.owner_reserved then settle_owner_rates(id, record.owner, record.model, record.owner_reserved, used) end
end

-- Whether a job does not stay after its end: what a line leaves is in its batch's log.
local function is_short_lived(record)
  return record.lane and bounded(record.ttl_s, 0, LINE_TTL_MS / 1000)
end

-- Ends a job after its terminal entry was written: sets its state, removes it from every index, and gives all its keys
-- the same expiry. The fence stays, so that a worker that resends the end gets a confirmation. The extra arguments are
-- names and values of record fields.
local function close(id, status, ...)
  local key = job_key(id)
  local record, problem = hash_at(key)
  if problem then error(problem) end
  local changes = {'ended_ms', NOW, ...}
  local owner, idempotency, batch = record.owner, record.idempotency, record.batch
  local ttl_ms = tonumber(record.ttl_s) * 1000
  local from = move(id, record, status, unpack(changes))
  for i = 1, #changes, 2 do record[changes[i]] = changes[i + 1] end
  if from == 'queued' then
    dequeue(id, who_of(record))
  else
    index('ZREM', 'running:' .. record.model, id)
    if record.attempt == '1' and record.started_ms then
      note_run(record.model, math.max(0, NOW - record.started_ms))
    end
  end
  local usage = record.usage
  settle_charge(id, record, status, usage)
  note_end(id, record, from, status, usage)
  if record.reserved or record.owner_reserved then
    give_back(id, record, (tokens_used(id, record, usage)))
  end
  if record.not_before_ms or record.conversation then
    if record.conversation and record.attempt ~= '0' then
      note_turn(id, record, ttl_ms)
    end
    release(id, record)
  end
  index('ZREM', 'deadlines', id)
  if record.on_disconnect ~= 'continue' then
    index('ZREM', 'reader_leases', id)
  end
  -- Redis writes a time from now to its file as a point in time, and Lua formats each number again: so as a text.
  local until_ms = string.format('%d', NOW + ttl_ms)
  for _, name in ipairs({'', ':input', ':log', ':text'}) do
    redis.call('PEXPIREAT', key .. name, until_ms)
  end
  local is_short = is_short_lived(record)
  redis.call('SET', key .. ':gone', owner, 'PXAT', NOW + ttl_ms + (is_short and ttl_ms or TOMBSTONE_MS))
  index('ZADD', 'expiring', until_ms, owner .. ' ' .. id)
  if not is_short then index('ZADD', 'unpacked', NOW, id) end
  if record.before then
    hold_blocks(owner, record.before, id, NOW + ttl_ms)
  end
  if idempotency and idempotency ~= '' then
    redis.call('PEXPIRE', P .. 'idempotency:' .. idempotency, ttl_ms)
  end
  local chat = record.chat and P .. 'chat:' .. owner .. ':' .. record.chat
  if chat and redis.pcall('GET', chat) == id then
    redis.call('PEXPIRE', chat, ttl_ms)
  end
  if record.lane and batch then
    local ok, problem = pcall(end_line, id, record, status)
    if not ok then keep_line(id, record, problem) end
  elseif batch and batch ~= '' then
    close_in_batch(id, batch)
  end
  if record.webhook or not batch and redis.call('EXISTS', P .. 'endpoints:' .. owner) == 1 then
    post_end(id, record, status)
  end
end

-- `upstream`: what the error of the job's upstream named, if that is why.
local function fail(id, code, message, retryable, upstream)
  local problem = json({code = code, message = message, retryable = retryable, upstream = upstream})
  announce_loss(id)
  push(id, 'failed', ',"error":' .. problem)
  close(id, 'failed', 'error', problem)
  tell(id, {event = 'job_ended', status = 'failed', code = code})
end

local function end_cancelled(id)
  announce_loss(id)
  push(id, 'cancelled', '')
  close(id, 'cancelled')
  tell(id, {event = 'job_ended', status = 'cancelled'})
end

local function note_cancel(id)
  --[[LIBRARY]]
  local owner = fields(id, 'owner').owner
  if owner and has_event_readers(owner) then note_change(id, owner, 'cancelling') end
end

-- Requests the cancellation of a job. A queued job ends at once; a running one is flagged, and ends at its worker's next
-- append or heartbeat.
local function request_cancel(id, record)
  if record.status ~= 'queued' and record.status ~= 'running' then return end
  local is_new = redis.call('HSETNX', job_key(id), 'cancel_ms', NOW) == 1
  if record.status == 'queued' then
    end_cancelled(id)
  elseif is_new then
    note_cancel(id)
  end
end

-- The time by which a job must begin; nil if it has begun.
local function start_by_of(record)
  return record.attempt == '0' and record.status == 'queued' and tonumber(record.start_by_ms) or nil
end

-- The next time at which the keeper must look at a job: to move it to the front of its flow, or to end it.
local function next_look(record)
  local start_by = start_by_of(record)
  local near = start_by and near_from(record)
  if near and near > NOW then start_by = math.min(near, start_by) end
  return math.min(start_by or math.huge, tonumber(record.deadline_ms))
end

-- Ends a job that has not begun in time. `record` needs created_ms, start_by_ms, not_before_ms and start_within_s.
local function end_unstarted(id, record)
  local from = math.max(tonumber(record.created_ms), tonumber(record.not_before_ms) or 0)
  local within = tonumber(record.start_within_s)
  local seconds = math.max(0, (tonumber(record.start_by_ms) - from) / 1000)
  if within and within <= seconds + 0.001 then
    fail(id, 'start_deadline_exceeded', string.format('the job did not begin within its start_within_s, %g s', within), true)
  else
    fail(id, 'start_timeout', string.format('no worker started the job within %d s, the start_s of its model', seconds + 0.5), true)
  end
end

-- Ends a job whose deadline, or time to begin, has passed. Answers whether it did.
local function end_if_overdue(id, record)
  --[[LIBRARY]]
  local start_by = start_by_of(record)
  if tonumber(record.deadline_ms) <= NOW then
    fail(id, 'deadline_exceeded', 'the job did not end before its deadline', true)
  elseif start_by and start_by <= NOW then
    end_unstarted(id, record)
  else
    return false
  end
  return true
end

-- Ends a queued job whose batch was cancelled or has expired. Answers whether it did.
local function end_if_stopped(id, record)
  if not record.lane or not is_stopped(record.batch) then return false end
  end_cancelled(id)
  return true
end

-- Begins a worker's attempt at a queued job, and brings `record` up to date. The caller writes the attempt's first entry.
-- `a` has attempt, mode (the kind of the first entry), first (its id), fence, worker, lease_ms, and input_bytes, if known; and
-- server, if the log is not known to be complete on this run. `record` needs the fields for `move` and `charge`, deadline_ms, attempts,
-- started_ms and attempt_first.
local function begin_attempt(id, record, a)
  local key, is_continued = job_key(id), a.mode == 'continued'
  local attempts = string.format('[{"attempt":%d,"first":%d,"at_ms":%d}]', a.attempt, a.first, NOW)
  if record.attempts then
    local list = cjson.decode(record.attempts)
    -- An attempt that an upstream refuses costs nothing, so there may be many. The first ones and the last ones stay.
    if #list >= ATTEMPTS_KEPT then table.remove(list, ATTEMPTS_KEPT / 2) end
    list[#list + 1] = cjson.decode(attempts)[1]
    attempts = json(list)
  end
  local is_new, charged, weight = record.attempt == '0', record.charge, nil
  local has_more = dequeue(id, who_of(record), is_new)
  if not charged then charged, weight = charge(id, record, a.input_bytes, has_more) end
  local changes = {'attempt', a.attempt, 'attempts', attempts, 'fence', a.fence, 'worker', a.worker, 'last', a.first,
    'leased_until_ms', NOW + a.lease_ms, 'mode', a.mode, 'server', a.server or RUN_ID,
    'started_ms', record.started_ms or NOW, 'attempt_first', is_continued and (record.attempt_first or 1) or a.first,
    'charge', charged}
  if weight then changes[#changes + 1], changes[#changes + 2] = 'weight', weight end
  move(id, record, 'running', unpack(changes))
  record.status = 'running'
  for i = 1, #changes, 2 do
    record[changes[i]] = changes[i + 1]
  end
  if is_continued then
    redis.call('HSET', key, 'prefix_bytes', length_of(key .. ':text'))
    redis.call('HDEL', key, 'history_lost')
  elseif a.attempt > 1 or record.history_lost then
    redis.call('HDEL', key, 'history_lost', 'text_only', 'prefix_bytes')
    redis.call('DEL', key .. ':text')
    record.text_only = nil
  end
  index('ZADD', 'running:' .. record.model, NOW + a.lease_ms, id)
  -- A submit has written both; the keeper finds jobs that an index has lost.
  if not is_new then index('SADD', 'models', record.model) end
  if not is_new or record.start_within_s or record.start_by_ms ~= record.deadline_ms then
    index('ZADD', 'deadlines', record.deadline_ms, id)
  end
  redis.call('SET', P .. 'claim:' .. a.fence, id, 'PX', 60000)
end

-- Requeues a running job that lost its worker, ahead of new jobs, or ends it. Answers its new state.
-- `loss` has costs (1 if it counts against the attempts, else 0), died (true if the process died), reason (a word for
-- the log's next entry), message (a description for the job's error), upstream (what the upstream's error named, or nil),
-- and again_ms (if other jobs of its model should be tried before it until then).
local function retry(id, max_attempts, loss)
  local key = job_key(id)
  local record = fields(id, 'status', 'model', 'owner', 'batch', 'output_at_most', 'seq', 'deadline_ms', 'cancel_ms', 'losses',
    'deaths', 'on_worker_loss', 'continuable', 'text_only', 'history_lost', 'server', 'priority', 'fairness_key', 'reserved',
    'owner_reserved')
  local losses = tonumber(record.losses) + loss.costs
  local deaths = tonumber(record.deaths or 0) + (loss.died and 1 or 0)
  if record.cancel_ms then
    end_cancelled(id)
    return 'cancelled'
  end
  redis.call('HSET', key, 'losses', losses)
  if losses >= max_attempts then
    fail(id, 'attempts_exhausted', 'attempt ' .. losses .. ' of ' .. max_attempts .. ' failed: ' .. loss.message, false,
      loss.upstream)
    return 'failed'
  end
  local is_lost = has_lost_history(record)
  local said = record.text_only == '0' or redis.call('STRLEN', key .. ':text') > 0
  local can_continue = record.continuable == '1' and record.text_only ~= '0' and not is_lost
  if (said or is_lost) and record.on_worker_loss == 'fail' and not can_continue then
    fail(id, loss.reason == 'handed_back' and 'worker_lost' or loss.reason, 'generation was interrupted: ' .. loss.message,
      true, loss.upstream)
    return 'failed'
  end
  -- What the upstream refused has cost nothing there.
  if loss.reason ~= 'upstream_refused' then note_lost_attempt(id) end
  move(id, record, 'queued', 'retry_reason', loss.reason, 'deaths', deaths)
  if is_lost then
    redis.call('HSET', key, 'history_lost', 1)
  end
  redis.call('HDEL', key, 'fence', 'leased_until_ms', 'worker')
  if loss.died then tell(id, {event = 'job_lost', reason = loss.reason, losses = losses}) end
  index('ZREM', 'running:' .. record.model, id)
  if record.reserved or record.owner_reserved then
    give_back(id, record, 0)
  end
  -- A job whose process died twice may have killed it. Its next attempt runs quarantined, in a process of its own.
  if deaths >= 2 then
    index('ZADD', 'quarantine', record.seq, id)
  else
    enqueue(id, who_of(record), loss.again_ms or tonumber(record.seq))
  end
  index('ZADD', 'deadlines', record.deadline_ms, id)
  return 'queued'
end
