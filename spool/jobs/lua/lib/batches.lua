-- Batches whose jobs are being written: no claim finds one of their jobs before the last one is written.

-- Deletes a job in any state, without a tombstone. The counts of its batch do not change.
local function erase(id)
  local key = job_key(id)
  local _, who = booked(id)
  local record = fields_if_any(key, 'before', 'conversation', 'priority', 'fairness_key')
  redis.call('DEL', key, key .. ':input', key .. ':log', key .. ':text', key .. ':gone')
  index('ZREM', 'deadlines', id)
  index('ZREM', 'reader_leases', id)
  if who then
    record.owner = who.owner
    who.flow = flow_name(record)
    dequeue(id, who)
    index('ZREM', 'owner:' .. who.owner, id)
    index('ZREM', 'expiring', who.owner .. ' ' .. id)
    index('ZREM', 'unpacked', id)
    unbook(id)
    if record.before then
      hold_blocks(who.owner, record.before, id)
    end
    release(id, {owner = who.owner, conversation = record.conversation})
  end
end

-- Deletes at most `most` jobs of an incomplete batch, and after the last one the batch. Answers the number of jobs
-- left, or -1 for a complete batch, which stays.
local function drop_batch(batch, most)
  local name = 'batch:' .. batch
  if staging_of(batch) then
    -- From now on, no line is accepted.
    redis.call('HSET', P .. name, 'staging', 'dropped')
  elseif redis.call('EXISTS', P .. name) == 1 then
    index('ZREM', 'staging', batch)
    return -1
  end
  for _, id in ipairs(index('LPOP', name .. ':jobs', most) or {}) do
    erase(id)
  end
  local left = index('LLEN', name .. ':jobs')
  if left == 0 then
    local idempotency = index('HGET', name, 'idempotency')
    if idempotency and idempotency ~= '' then
      redis.call('DEL', P .. 'idempotency:' .. idempotency)
    end
    redis.call('DEL', P .. name, P .. name .. ':ended', P .. name .. ':flows')
    index('ZREM', 'staging', batch)
    unbook(batch)
  end
  return left
end

-- The answer if another call has used the same idempotency key for a batch; nil if none has.
local function earlier_batch(id, idempotency, digest)
  local before = idempotency ~= '' and index('GET', 'idempotency:' .. idempotency)
  if not before then return nil end
  local other, said = string.match(before, '^(%S+) (.*)$')
  if not other then return nil end
  if said ~= digest or string.sub(other, 1, 1) ~= 'b' then
    return {'conflict', other}
  elseif other == id then
    return {'opened', id}
  end
  return {staging_of(other) and 'staging' or 'replayed', other}
end

-- The output that kinds of jobs are expected to write, and their number. Of each kind ARGV has the model, output_at_most and
-- the number, from the place `first` to `last`.
local function sums_of_kinds(first, last)
  local expected, count = 0, 0
  for i = first, last, 3 do
    local model, at_most, jobs = unpack(ARGV, i, i + 2)
    expected = expected + jobs * expected_output(model, tonumber(at_most))
    count = count + jobs
  end
  return expected, count
end

-- Reserves room for jobs of a batch, beside what it has reserved. Answers why it is refused, or false. `wants` and `limits`
-- are as for refusal_of.
local function reserve_for_batch(batch, owner, wants, limits)
  local refusal = refusal_of(owner, wants, limits)
  if refusal then return refusal end
  local before, whose = booked(batch)
  book(batch, whose or {owner = owner, batch = '', model = '-'}, before, {before[1] + wants.queued, before[2],
    before[3] + wants.bytes, before[4] + wants.expected, before[5]})
  return false
end

-- Adds a batch to its owner's list. The score is its time in microseconds, which no other batch of the shard has.
local function list_batch(owner, batch)
  index('ZADD', 'batches:' .. owner, string.format('%d', TIME[1] * 1000000 + TIME[2]), batch)
end

-- Updates a batch after one of its jobs has ended; after the last one, sets the batch's expiry.
local function close_in_batch(id, batch)
  --[[LIBRARY]]
  local key = P .. 'batch:' .. batch
  local ended = index('RPUSH', 'batch:' .. batch .. ':ended', id)
  local record = fields_if_any(key, 'total', 'ttl_s', 'idempotency', 'owner')
  local total, ttl_s = bounded(record.total, 1, 1e9), bounded(record.ttl_s, 1, 1e9)
  redis.call('PEXPIRE', key .. ':ended', math.max(redis.call('PTTL', key), TOMBSTONE_MS))
  if total and ttl_s and ended >= total then
    local ttl_ms = ttl_s * 1000
    redis.call('PEXPIRE', key, ttl_ms)
    redis.call('PEXPIRE', key .. ':jobs', ttl_ms)
    redis.call('PEXPIRE', key .. ':ended', ttl_ms)
    if record.owner then
      index('ZADD', 'expiring', NOW + ttl_ms, record.owner .. ' ' .. batch)
    end
    if record.idempotency and record.idempotency ~= '' then
      redis.call('PEXPIRE', P .. 'idempotency:' .. record.idempotency, ttl_ms)
    end
  end
end

-- The most jobs of a lane that wait or run.
local WINDOW_AT_MOST = 2000

-- Whether lines of a batch may wait or run. An open batch has another status than a sealed one, so that processes of older
-- versions, which would end it after the last line so far, leave it alone.
local function is_begun(status)
  return status == 'running' or status == 'open'
end

-- How many lines of a lane are jobs, or have ended without. There are two copies, so that a damaged record does not run a
-- line twice. Processes of older versions write the first one alone.
local function fed_of(batch, lane, stored)
  local copy = redis.pcall('HGET', P .. 'batch:' .. batch .. ':lines', 'fed:' .. lane)
  return math.max(bounded(stored, 0, 1e9, 0), bounded(type(copy) == 'string' and copy, 0, 1e9, 0))
end

local function note_fed_lines(batch, lane, count)
  redis.call('HSET', P .. 'batch:' .. batch, 'fed:' .. lane, count)
  index('HSET', 'batch:' .. batch .. ':lines', 'fed:' .. lane, count)
end

-- Why a line may not become a job now: nil if it may; else no_batch, stopped (the batch is cancelled or has expired),
-- fed (it is one already) or early (an earlier line of its lane is not one yet).
local function refusal_of_line(batch, lane, position)
  --[[LIBRARY]]
  local record = fields_if_any(P .. 'batch:' .. batch, 'status', 'stop', 'fed:' .. lane)
  if not is_begun(record.status) then return 'no_batch' end
  if record.stop then return 'stopped' end
  local fed = fed_of(batch, lane, record['fed:' .. lane])
  return position < fed and 'fed' or position > fed and 'early' or nil
end

-- Whether a line may have been a job that Redis has lost in a restart.
local function may_be_fed_again(batch, lane, position)
  local its = fields_if_any(P .. 'batch:' .. batch, 'run_id', 'fed_again:' .. lane)
  return its.run_id and its.run_id ~= RUN_ID or position < bounded(its['fed_again:' .. lane], 0, 1e14, 0)
end

-- Whether lines may be added to a batch.
local function is_open_batch(batch)
  return redis.pcall('HGET', P .. 'batch:' .. batch, 'status') == 'open'
end

-- Records that a line has become a job.
local function note_fed(id, batch, lane, position, batch_index)
  --[[LIBRARY]]
  note_fed_lines(batch, lane, position + 1)
  index('ZADD', 'batch:' .. batch .. ':flight:' .. lane, batch_index, id)
end

-- Whether the batch of a job was cancelled or has expired, so that the job must not begin.
local function is_stopped(batch)
  local stop = redis.pcall('HGET', P .. 'batch:' .. batch, 'stop')
  return type(stop) == 'string'
end
