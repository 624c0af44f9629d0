#!lua flags=allow-oom
-- One call of the keeper's round: handles lost leases, passed deadlines and expired jobs, and counts jobs to ring for.
-- Arguments:
--   most         maximum number of jobs in this call
--   beat_ms      the interval of rounds
--   keeper_name  a keeper may continue a round that it has begun
--   is_first     1 in the first call of a round
-- Answers nothing if another process keeps this shard, else:
--   {pending jobs, free slots, jobs taken over from lost workers, jobs ended as overdue, jobs that could not be handled,
--   patient (1: leases are not judged yet), more (1: there is more to do now),
--   jobs set aside, jobs that a newer version wrote, events of jobs for the log, notices…}
--[[ARGUMENTS lease_ms:number max_attempts:number most:number beat_ms:number keeper_name is_first:flag]]
local NEWER_AGAIN_MS = 10000
local NOTICES_A_ROUND = 20
local TOLD_A_CALL = 200
local LEASE_AT_MOST_MS = 3600000
local FIRST_READER_MS = 30000
local ADOPT_AGAIN_MS = 60000
local ENDED_LEASE_MS = 0
-- Small, because Redis does nothing else during a call, and these run at each beat.
local KEYS_A_BEAT = 20
local ENTRIES_A_BEAT = 10
local more = false

local function is_mine()
  local key, name = P .. 'keeper:lock', keeper_name
  if redis.call('SET', key, name, 'NX', 'PX', beat_ms) then return true end
  local held_by = redis.pcall('GET', key)
  -- Spool never sets a lock without expiry, so a foreign one is overwritten.
  if held_by ~= name and redis.call('PTTL', key) ~= -1 then return false end
  redis.call('SET', key, name, 'PX', beat_ms)
  return true
end

-- Whether leases are not judged yet. After a restart of Redis, or a gap in the beat (Redis paused, or no keeper ran),
-- workers could not renew their leases either. They get one lease's time to do so.
local function is_patient()
  local record = index_fields('keeper', 'beat_ms', 'patient_until_ms', 'run_id')
  local patient_until = bounded(record.patient_until_ms, 0, NOW + lease_ms, 0)
  local gap = NOW - bounded(record.beat_ms, 0, NOW, 0)
  if RUN_ID ~= record.run_id or gap > math.max(lease_ms / 2, 1.5 * beat_ms) then
    patient_until = NOW + lease_ms
  end
  index('HSET', 'keeper', 'beat_ms', NOW, 'patient_until_ms', patient_until, 'run_id', RUN_ID)
  return patient_until > NOW
end

-- Runs `act` on a job; an error ends only that job. Answers the result of `act` (whether the job counts), and whether
-- the job could not be handled.
local function act_on(act, id, ...)
  local ok, counts = pcall(act, id, ...)
  if ok then return counts, false end
  local ended = pcall(end_after, id, counts)
  return false, not ended
end

-- Runs `act` on each id that is due in an index at a time, within the limit of this call. A job that cannot be handled is
-- postponed by the duration of a lease.
local function each_due_at(at_ms, name, act, ...)
  local done, broken = 0, 0
  local due = index('ZRANGEBYSCORE', name, '-inf', at_ms, 'LIMIT', 0, most)
  more = more or #due >= most
  most = math.max(most - #due, 1)
  for _, id in ipairs(due) do
    local counts, failed = act_on(act, id, ...)
    if counts then done = done + 1 end
    if failed then
      index('ZADD', name, NOW + lease_ms, id)
      broken = broken + 1
    end
  end
  return done, broken
end

local function each_due(name, act, ...)
  return each_due_at(NOW, name, act, ...)
end

-- The record of a job that is due in an index; nil if there is nothing to do. A job of a newer version stays for that
-- version, and is checked again later.
local function due_record(id, name)
  local verdict, fault, record = judge(id)
  if verdict == 'sound' then return record end
  if verdict == 'newer' then
    index('ZADD', name, 'XX', NOW + NEWER_AGAIN_MS, id)
    return nil
  end
  if verdict == 'damaged' then end_damaged(id, fault) end
  index('ZREM', name, id)
end

local function take_over(id, model)
  local name = 'running:' .. model
  local record = due_record(id, name)
  if not record then return false end
  if record.status ~= 'running' or record.model ~= model then
    index('ZREM', name, id)
    return false
  end
  local leased_until = tonumber(record.leased_until_ms)
  if leased_until > NOW and leased_until < NOW + LEASE_AT_MOST_MS then
    index('ZADD', name, leased_until, id)
    return false
  end
  retry(id, max_attempts, {costs = 1, died = true, reason = 'worker_lost', message = 'its worker died'})
  return true
end

local function end_overdue(id)
  local record = due_record(id, 'deadlines')
  if not record then return false end
  if not next(TRANSITIONS[record.status]) then
    index('ZREM', 'deadlines', id)
    return false
  elseif record.cancel_ms then
    end_cancelled(id)
  elseif not end_if_overdue(id, record) then
    hurry(id, record)
    index('ZADD', 'deadlines', next_look(record), id)
    return false
  end
  return true
end

-- Queues a job whose not_before has come, if its conversation is free.
local function admit_due(id)
  local record = due_record(id, 'scheduled')
  if not record then return end
  index('ZREM', 'scheduled', id)
  if record.status == 'queued' then
    admit(id, record)
  end
end

-- Ends a job that must end with its last reader, when no instance has a reader of it.
local function end_unwatched(id)
  local record = due_record(id, 'reader_leases')
  if not record then return end
  index('ZREM', 'reader_leases', id)
  if record.status == 'queued' then
    end_cancelled(id)
  elseif record.status == 'running' then
    redis.call('HSETNX', job_key(id), 'cancel_ms', NOW)
  end
end

-- Removes expired jobs from the indexes, and expired blocks; five times as many per call, because they are cheap.
local function forget_expired()
  local due = index('ZRANGEBYSCORE', 'expiring', '-inf', NOW, 'LIMIT', 0, most * 5)
  local looked = 0
  for _, kept in ipairs(due) do
    local owner, id = string.match(kept, '^(.-) (.*)$')
    index('ZREM', 'expiring', kept)
    if owner and string.sub(id, 1, 6) == 'block:' then
      looked = looked + check_block(id, math.max(most * 5 - looked, 1))
    elseif owner then
      local is_batch = string.sub(id, 1, 1) == 'b'
      index('ZREM', (is_batch and 'batches:' or 'owner:') .. owner, id)
      index('ZREM', is_batch and 'unpacked-batches' or 'unpacked', id)
      unbook(id)
    end
  end
  more = more or #due >= most * 5 or looked >= most * 5
end

local function free_slots()
  local free = 0
  for _, worker in ipairs(index('ZRANGEBYSCORE', 'workers', '-inf', NOW)) do
    index('ZREM', 'workers', worker)
    index('HDEL', 'slots', worker)
    index('HDEL', 'capacity', worker)
  end
  index('ZREMRANGEBYSCORE', 'workers', NOW + LEASE_AT_MOST_MS, '+inf')
  for _, worker in ipairs(index('HKEYS', 'capacity')) do
    if not index('ZSCORE', 'workers', worker) then index('HDEL', 'capacity', worker) end
  end
  for _, worker in ipairs(index('ZRANGE', 'workers', 0, -1)) do
    free = free + bounded(index('HGET', 'slots', worker), 0, 1e6, 0)
  end
  return math.floor(free)
end

-- Books a job that has no entry in the ledger, from its record.
local function book_again(id, who, record)
  local before, known = booked(id)
  if known then return end
  local at_most = bounded(record.output_at_most, 0, 1e12, 0)
  local bytes = JOB_BYTES + size_of(job_key(id) .. ':input')
  if record.status == 'queued' then
    book(id, who, before, {1, 0, bytes, expected_output(record.model, at_most), 0})
  elseif record.status == 'running' then
    book(id, who, before, {0, 1, bytes, 0, output_to_write(record.model, at_most)})
  else
    book(id, who, before, {0, 0, bytes + output_of(id), 0, 0})
  end
end

local function check_booked(id, entry)
  local record, is_other = fields_if_any(job_key(id), 'status', 'output_at_most')
  local figures, who = read_entry(entry)
  if is_other or not who then return end
  if not record.status then
    dequeue_booked(id)
    unbook(id)
  elseif (record.status == 'queued') ~= (figures[1] > 0) or (record.status == 'running') ~= (figures[2] > 0) then
    unbook(id)
    record.model = who.model
    book_again(id, who, record)
  end
end

-- Moves entries of the old ledger to this version's. Jobs are booked from their records, since both versions may have
-- changed them.
local function empty_old_ledger()
  if redis.call('EXISTS', P .. 'booked') == 0 then return end
  for id, old in pairs(take_old_entries(most)) do
    local record = fields_if_any(job_key(id), 'status', 'output_at_most')
    if string.sub(id, 1, 6) == 'block:' then
      check_block(id, 1)
    elseif string.sub(id, 1, 1) == 'b' then
      book(id, old.who, booked(id), old.figures)
    elseif record.status then
      unbook(id)
      record.model = old.who.model
      book_again(id, old.who, record)
    end
  end
  more = more or redis.call('EXISTS', P .. 'booked') == 1
end

local function is_queued(id, who)
  if not index('ZSCORE', 'pending:' .. who.model, id) then return false end
  if index('ZSCORE', 'retries:' .. who.model, id) then return true end
  local flow = flow_of(who.flow, who.model)
  if who.batch == '' then return index('ZSCORE', flow, id) end
  return index('ZSCORE', batch_flow_of(who), id) and (staging_of(who.batch) or index('ZSCORE', flow, who.batch))
end

-- Gives running jobs the turns of their conversations, because the queued ones must not overtake them. For lost turns
-- only, since it looks at every running job.
local function restore_turns()
  for _, model in ipairs(index('SMEMBERS', 'models')) do
    for _, id in ipairs(index('ZRANGE', 'running:' .. model, 0, -1)) do
      local record = fields_if_any(job_key(id), 'owner', 'conversation')
      if record.owner and record.conversation then
        index('ZADD', turns_of(record.owner, record.conversation), 0, id)
      end
    end
  end
end

-- Whether a queued job is in every index that its record requires. Most are, and a look at the indexes alone costs half
-- of reading and checking the whole record.
local function is_in_place(id, record)
  if not record.owner or not record.model or record.on_disconnect == 'cancel' then return false end
  local _, known = booked(id)
  index('SADD', 'models', record.model)
  return known and is_queued(id, who_of(record)) and index('ZSCORE', 'deadlines', id)
    and index('ZSCORE', 'owner:' .. record.owner, id)
end

-- Adds a job to every index that its record requires. `all`: also for ended jobs, and a queued job is enqueued in any
-- case.
local function put_back(id, all)
  local state = fields_if_any(job_key(id), 'status', 'packed', 'owner', 'model', 'batch', 'priority', 'fairness_key', 'on_disconnect', 'lane',
    'ttl_s')
  if TRANSITIONS[state.status] and not next(TRANSITIONS[state.status]) then
    -- An older version ended it, or the index was lost.
    if not state.packed and not is_short_lived(state) then index('ZADD', 'unpacked', 'NX', NOW, id) end
    if not all then return end
  end
  if not all and state.status == 'queued' and is_in_place(id, state) then return end
  local verdict, _, record = judge(id)
  if verdict ~= 'sound' then return end
  local has_ended = not next(TRANSITIONS[record.status])
  if has_ended and not all then return end
  index('ZADD', 'owner:' .. record.owner, 'NX', record.created_ms * 1000 + record.seq % 1000, id)
  local who = who_of(record)
  book_again(id, who, record)
  if has_ended then
    index('ZADD', 'expiring', 'NX', (record.ended_ms or NOW) + record.ttl_s * 1000, record.owner .. ' ' .. id)
    return
  end
  index('ZADD', 'deadlines', 'NX', next_look(record), id)
  index('SADD', 'models', record.model)
  if record.on_disconnect == 'cancel' and not record.cancel_ms then
    index('ZADD', 'reader_leases', 'NX', NOW + FIRST_READER_MS, id)
  end
  if record.status == 'running' then
    index('ZADD', 'running:' .. record.model, 'NX', record.leased_until_ms, id)
    if class_of(record) == 'batch' then index('SADD', 'batch-running:' .. record.model, id) end
    local owner, key = owner_and_key(who.flow)
    count_running(id, owner, key, record.model, true)
    if record.conversation then
      index('ZADD', turns_of(record.owner, record.conversation), 0, id)
    end
  elseif tonumber(record.deaths or 0) >= 2 then
    index('ZADD', 'quarantine', 'NX', record.seq, id)
  elseif all or not is_queued(id, who) then
    if record.conversation and index('ZCARD', turns_of(record.owner, record.conversation)) == 0 then
      restore_turns()
    end
    admit(id, record)
    show(who.flow, who.model)
  end
end

-- Adds a batch to the index of the feeder if its lines wait, and to that of the packer if it has ended, in case the index was
-- lost, or an older version ended it.
local function put_back_batch(id)
  local record = fields_if_any(P .. 'batch:' .. id, 'status', 'packed')
  if is_begun(record.status) then
    index('ZADD', record.status == 'open' and 'feeding-open' or 'feeding', 'NX', 0, id)
  elseif record.status and not record.packed then
    index('ZADD', 'unpacked-batches', 'NX', NOW, id)
  end
end

-- Rebuilds indexes from the records: at once after an index was displaced; otherwise a few keys at each beat, in case
-- an index was deleted from outside.
local function reindex()
  local displaced = index('GET', 'reindex')
  local cursor = displaced or index('HGET', 'keeper', 'cursor_of_indexes') or '0'
  if string.find(cursor, '[^0-9]') or #cursor > 19 or cursor == '' then cursor = '0' end
  -- Matches job:… and block:…, and a few other keys.
  local pattern = string.gsub(P, '[%[%]%?%*\\]', '\\%0') .. '[jb]*'
  local count = displaced and most * 4 or KEYS_A_BEAT
  local page = redis.call('SCAN', cursor, 'MATCH', pattern, 'TYPE', 'hash', 'COUNT', count)
  for _, key in ipairs(page[2]) do
    local name = string.sub(key, #P + 1)
    if string.sub(name, 1, 4) == 'job:' then
      pcall(put_back, string.sub(name, 5), displaced)
    elseif string.sub(name, 1, 6) == 'batch:' then
      pcall(put_back_batch, string.sub(name, 7))
    else
      pcall(check_block, name, 1)
    end
  end
  if not displaced then
    index('HSET', 'keeper', 'cursor_of_indexes', page[1])
  elseif page[1] == '0' then
    redis.call('DEL', P .. 'reindex')
  else
    redis.call('SET', P .. 'reindex', page[1])
    more = true
  end
end

-- Starts a rebuild for jobs that claims do not find, or that the ledger does not count: an older version queued them,
-- or a key was lost. `is_hidden`: some jobs wait for a model that has no flow in its queue.
local function adopt_queued(waiting, is_hidden)
  if redis.call('EXISTS', P .. 'booked') == 1 then return end
  local queued, running = unpack(sum_of_all())
  -- A batch that waits has one entry for all its lines.
  local has_reservations = redis.call('EXISTS', P .. 'staging') == 1
  local is_staging = index('ZCOUNT', 'staging', '-inf', NOW + 2 * STAGING_MS) > 0
  local is_uncounted = waiting > queued or not has_reservations and queued + running > ledger('HLEN')
  is_hidden = is_hidden and not is_staging and redis.call('EXISTS', P .. 'held', P .. 'held-keys') == 0
  if not is_uncounted and not is_hidden then return end
  if NOW - bounded(index('HGET', 'keeper', 'adopted_ms'), 0, NOW, 0) < ADOPT_AGAIN_MS then return end
  index('HSET', 'keeper', 'adopted_ms', NOW)
  redis.call('SET', P .. 'reindex', 0, 'NX')
  if is_uncounted then reset_ledger() end
end

-- Removes jobs that do not run from an index of running jobs, in case a record was lost: they must not count for ever.
local function forget_ended(name, model)
  for _, id in ipairs(index('SRANDMEMBER', name, ENTRIES_A_BEAT)) do
    local its_model = model or fields_if_any(job_key(id), 'model').model
    if not its_model or not index('ZSCORE', 'running:' .. its_model, id) then index('SREM', name, id) end
  end
end

-- Unparks a flow of owners and keys that are no longer at a limit because it has changed; claims unpark the next ones.
-- Checks a bounded random selection per round, so that no owner waits for long.
local function unpark_some()
  unpark_rated(most)
  for _, owner in ipairs(index('SRANDMEMBER', 'held', most)) do
    for _, queue in ipairs(index('SMEMBERS', 'held:' .. owner)) do
      local model = string.match(queue, '^%l+:(.*)$')
      if model then forget_ended(owner_running_of(owner, model), model) end
    end
    if not flow_block(owner, '') then unpark(owner) end
  end
  for _, name in ipairs(index('SRANDMEMBER', 'held-keys', most)) do
    local owner, key = string.match(name, '^([^:]*):(.*)$')
    if owner then forget_ended(key_running_of(owner, key)) end
    if owner and running_block(owner, key, '') ~= 'fairness_key' then unpark_key(owner, key) end
  end
end

-- Corrects ledger entries that differ from their jobs' records, which were changed or deleted from outside. Each round
-- checks a part of the ledger.
local function sweep_ledger()
  local cursor = index('HGET', 'keeper', 'cursor') or '0'
  if string.find(cursor, '[^0-9]') or #cursor > 19 then cursor = '0' end
  local page = ledger('HSCAN', cursor, 'COUNT', ENTRIES_A_BEAT)
  index('HSET', 'keeper', 'cursor', page[1])
  -- HSCAN returns a small hash as a whole, whatever the count. Then each second checks different entries.
  local pairs_in_all = #page[2] / 2
  local at = pairs_in_all > 2 * ENTRIES_A_BEAT and math.floor(NOW / 1000) * ENTRIES_A_BEAT % pairs_in_all or 0
  for i = 2 * at + 1, math.min(2 * (at + 2 * ENTRIES_A_BEAT), #page[2]), 2 do
    local id = page[2][i]
    if string.sub(id, 1, 6) == 'block:' then
      if redis.call('EXISTS', P .. id) == 0 then unbook(id) end
    elseif string.sub(id, 1, 1) == 'j' then
      check_booked(id, page[2][i + 1])
    elseif string.sub(id, 1, 1) == 'b' and not index('ZSCORE', 'staging', id) and redis.call('EXISTS', P .. 'batch:' .. id) == 0 then
      unbook(id)
    end
  end
end

-- Drops a batch whose web process disappeared before it wrote the last line.
local function drop_given_up()
  for _, batch in ipairs(index('ZRANGEBYSCORE', 'staging', '-inf', NOW, 'LIMIT', 0, 1)) do
    drop_batch(batch, most)
  end
end

-- Records the memory figures that claims and submits use until the next beat.
local function note_memory()
  local memory = redis.pcall('INFO', 'memory')
  if type(memory) ~= 'string' then return end
  local used, max = string.match(memory, 'used_memory:(%d+)'), string.match(memory, 'maxmemory:(%d+)')
  -- Half-way between the watermark for new jobs and the full memory, because accepted jobs must be able to run.
  local watermark = bounded(index('HGET', 'limits', 'watermark'), 0, 1, 0.9)
  local claims_until = math.floor((1 + watermark) / 2 * (tonumber(max) or 0))
  local bytes = sum_of_all()[3]
  index('HSET', 'memory', 'used', used or 0, 'max', max or 0, 'claims_until', claims_until, 'bytes', bytes, 'at_ms', NOW)
end

-- The number of jobs that wait for a newer version, over all indexes in which such jobs were found.
local function newer_jobs()
  local count = 0
  for _, name in ipairs(index('SMEMBERS', 'newer')) do
    local there = string.find(name, '^newer:') and index('ZCARD', name) or 0
    if there == 0 then index('SREM', 'newer', name) end
    count = count + there
  end
  return count
end

if not is_mine() then
  return false
end
meet_server()
empty_old_ledger()
if is_first or redis.call('EXISTS', P .. 'reindex') == 1 then
  reindex()
end
local patient = is_patient()
-- Before the jobs are counted, so that the bell rings for these.
each_due('scheduled', admit_due)
local pending, taken_over, overdue, broken, is_hidden = 0, 0, 0, 0, false
for _, model in ipairs(index('SMEMBERS', 'models')) do
  -- A lease that was ended because its worker died (end_leases) needs no patience.
  local done, errors = each_due_at(patient and ENDED_LEASE_MS or NOW, 'running:' .. model, take_over, model)
  taken_over, broken = taken_over + done, broken + errors
  more = take_over_queue(model, most) >= most or more
  forget_ended('batch-running:' .. model, model)
  local waiting = index('ZCARD', 'pending:' .. model)
  if waiting == 0 and index('ZCARD', 'running:' .. model) == 0 then
    -- Submit adds it again. So the cost of a round does not grow with every model that was ever used.
    index('SREM', 'models', model)
  end
  is_hidden = is_hidden or waiting > 0 and redis.call('EXISTS', P .. heads_of('interactive', model),
    P .. heads_of('batch', model), P .. 'retries:' .. model) == 0
  pending = pending + waiting
end
adopt_queued(pending, is_hidden)
local done, errors = each_due('deadlines', end_overdue)
overdue, broken = done, broken + errors
if not patient then
  -- While patient, readers could not renew their leases either.
  done, errors = each_due('reader_leases', end_unwatched)
  broken = broken + errors
end
forget_expired()
drop_given_up()
if is_first then
  take_over_parked(most)
  unpark_some()
  sweep_ledger()
  note_memory()
end
local told = index('LPOP', 'told', TOLD_A_CALL) or {}
more = more or #told == TOLD_A_CALL
local reply = {pending, free_slots(), taken_over, overdue, broken, patient and 1 or 0, more and 1 or 0,
  index('HLEN', 'set-aside'), newer_jobs(), told}
for _ = 1, NOTICES_A_ROUND do
  local text = index('LPOP', 'notices')
  if not text then break end
  reply[#reply + 1] = text
end
return reply
