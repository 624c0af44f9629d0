-- A job's log, its states, its attempts.
local TRANSITIONS = {--[[TRANSITIONS]]}
local TOMBSTONE_MS = 86400000

-- Which run of the server this is. A record that was written on another one may have lost its last second.
local known_run_id
local function run_id()
  if not known_run_id then
    -- A plain search: a pattern takes as long as all the rest of a heartbeat.
    local server = redis.call('INFO', 'server')
    local _, at = string.find(server, 'run_id:', 1, true)
    known_run_id = string.match(server, '^%w+', at + 1)
  end
  return known_run_id
end

-- The first time on a new run of the server: the workers of the history that is left have not been heard yet. Each is
-- heard once it has said, on this run, that all it had claimed is there again.
local function meet_server()
  if index('HGET', 'server', 'run_id') ~= run_id() then
    index('HSET', 'server', 'run_id', run_id(), 'since_ms', NOW)
    redis.call('DEL', P .. 'unheard')
    for _, worker in ipairs(index('ZRANGE', 'workers', 0, -1)) do
      index('SADD', 'unheard', worker)
    end
  end
end

-- Whether readers may have seen entries of this job (torn, server, status) that Redis has lost since. A running job's
-- worker would have said that all is there; a queued one may have been claimed by a worker that nobody has heard of since.
local function is_torn(record)
  if record.torn then return true end
  if not record.server or record.server == run_id() then return false end
  meet_server()
  return record.status == 'running' or index('SCARD', 'unheard') > 0
end

-- JSON as every other part of Spool writes it: cjson alone would escape each slash.
local function json(value)
  return (string.gsub(cjson.encode(value), '\\/', '/'))
end

-- Days to a civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
local function rfc3339(ms)
  local s = math.floor(ms / 1000)
  local z = math.floor(s / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day,
    math.floor(s / 3600) % 24, math.floor(s / 60) % 60, s % 60, ms % 1000)
end

-- Changes a job's state, by the one table, the counts of its batch, and what its owner uses. Of the record it needs
-- status, batch, owner, model and output_at_most. What follows are fields that change with it, and their values. Answers
-- the state before.
local function move(id, record, to, ...)
  local key = job_key(id)
  local from, batch = record.status, record.batch
  if not (TRANSITIONS[from] and TRANSITIONS[from][to]) then
    error('job ' .. id .. ': no way from ' .. tostring(from) .. ' to ' .. to)
  end
  redis.call('HSET', key, 'status', to, ...)
  if batch and batch ~= '' and redis.call('TYPE', P .. 'batch:' .. batch).ok == 'hash' then
    -- A count that is no number stays as it is: the job's change of state is not to fail with it.
    redis.pcall('HINCRBY', P .. 'batch:' .. batch, from, -1)
    redis.pcall('HINCRBY', P .. 'batch:' .. batch, to, 1)
  end
  local who = {owner = record.owner, batch = batch or '', model = record.model}
  book_state(id, who, from, to, bounded(record.output_at_most, 0, 1e12, 0))
  if from == 'running' then
    unpark(who.owner)
  end
  return from
end

-- Appends one encoded entry under the id `n`.
local function write(id, n, entry)
  local key = job_key(id)
  local written = redis.pcall('XADD', key .. ':log', n .. '-0', 'entry', entry)
  if type(written) == 'table' and written.err then
    if not string.find(written.err, 'WRONGTYPE', 1, true) then
      error(written.err)
    end
    -- Something that is no log stands in its place. The job must be able to end; what was there is a gap.
    redis.call('DEL', key .. ':log')
    redis.call('XADD', key .. ':log', n .. '-0', 'entry', entry)
  end
  redis.call('HSET', key, 'last', n)
  redis.call('PUBLISH', key .. ':log', n .. '\n' .. entry)
end

-- Appends one entry that a script itself makes, under `n` or the next id, and answers it. `rest` is JSON: ',"name":value…'
-- or ''.
local function push(id, kind, rest, n)
  n = n or tonumber(redis.call('HGET', job_key(id), 'last')) + 1
  local entry = '{"id":' .. n .. ',"kind":"' .. kind .. '","at":"' .. rfc3339(NOW) .. '"' .. rest .. '}'
  write(id, n, entry)
  return entry
end

-- The id at which a torn log goes on, with `restarted`: a round number, so far ahead that no reader can have seen it. It
-- grows with the job's age as well, since a jump can itself be lost. Below 10^14, up to which Lua writes whole numbers.
local function id_after_jump(id, last)
  local age_ms = math.min(NOW - redis.call('HGET', job_key(id), 'created_ms'), 9e8)
  return (math.ceil((last + 500000) / 100000) + age_ms) * 100000
end

-- Before a torn log gets an end from somebody who is not its worker: what readers have seen no longer counts.
local function mend(id)
  --[[LIBRARY]]
  local record = fields(id, 'torn', 'server', 'status', 'last', 'attempt')
  if not is_torn(record) then return end
  local key = job_key(id)
  local first = id_after_jump(id, tonumber(record.last))
  -- If there was one at all, it is the attempt that nobody has heard of.
  local attempt = math.max(1, record.attempt)
  redis.call('DEL', key .. ':text')
  redis.call('HSET', key, 'attempt', attempt, 'attempt_first', first, 'server', run_id())
  redis.call('HDEL', key, 'torn')
  push(id, 'restarted', ',"attempt":' .. attempt .. ',"reason":"redis_lost_history"', first)
end

-- The books of a batch, when one of its jobs has ended.
local function close_in_batch(id, batch)
  --[[LIBRARY]]
  local key = P .. 'batch:' .. batch
  local ended = index('RPUSH', 'batch:' .. batch .. ':ended', id)
  local record = redis.pcall('HMGET', key, 'total', 'ttl_s', 'idempotency')
  local total, ttl_s = bounded(record[1], 1, 1e9), bounded(record[2], 1, 1e9)
  redis.call('PEXPIRE', key .. ':ended', math.max(redis.call('PTTL', key), TOMBSTONE_MS))
  if total and ttl_s and ended >= total then
    local ttl_ms = ttl_s * 1000
    redis.call('PEXPIRE', key, ttl_ms)
    redis.call('PEXPIRE', key .. ':jobs', ttl_ms)
    redis.call('PEXPIRE', key .. ':ended', ttl_ms)
    if record[3] and record[3] ~= '' then
      redis.call('PEXPIRE', P .. 'idempotency:' .. record[3], ttl_ms)
    end
  end
end

-- The state and the books of a job whose terminal entry has been written: it leaves every index, and all that
-- it owns gets one expiry. The fence stays, so that a worker which sends its end again is told that it is there. What
-- follows the status are more fields of the record, and their values.
local function close(id, status, ...)
  local key = job_key(id)
  local record = fields(id, 'status', 'model', 'owner', 'ttl_s', 'idempotency', 'batch', 'chat', 'output_at_most',
    'on_disconnect', 'before')
  local owner, idempotency, batch = record.owner, record.idempotency, record.batch
  local ttl_ms = tonumber(record.ttl_s) * 1000
  if move(id, record, status, 'ended_ms', NOW, ...) == 'queued' then
    dequeue(id, {owner = owner, batch = batch or '', model = record.model})
  else
    index('ZREM', 'running:' .. record.model, id)
  end
  index('ZREM', 'deadlines', id)
  if record.on_disconnect ~= 'continue' then
    index('ZREM', 'watched', id)
  end
  redis.call('PEXPIRE', key, ttl_ms)
  redis.call('PEXPIRE', key .. ':input', ttl_ms)
  redis.call('PEXPIRE', key .. ':log', ttl_ms)
  redis.call('PEXPIRE', key .. ':text', ttl_ms)
  redis.call('SET', key .. ':gone', owner, 'PX', ttl_ms + TOMBSTONE_MS)
  index('ZADD', 'kept', NOW + ttl_ms, owner .. ' ' .. id)
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
  if batch and batch ~= '' then
    close_in_batch(id, batch)
  end
end

local function fail(id, code, message, retryable)
  local problem = json({code = code, message = message, retryable = retryable})
  mend(id)
  push(id, 'failed', ',"error":' .. problem)
  close(id, 'failed', 'error', problem)
end

local function end_cancelled(id)
  mend(id)
  push(id, 'cancelled', '')
  close(id, 'cancelled')
end

-- A queued job becomes a worker's attempt: `a` has attempt, mode (the kind of its first entry), first (that one's id),
-- fence, worker and lease_ms; and server, where its log is not known to be whole on this run. Of the record it needs what
-- `move` does, deadline_ms, attempts, started_ms and attempt_first. Writing the first entry is left to the caller.
local function begin_attempt(id, record, a)
  local key, is_continued = job_key(id), a.mode == 'continued'
  local attempts = record.attempts and cjson.decode(record.attempts) or {}
  attempts[#attempts + 1] = {attempt = a.attempt, first = a.first, at_ms = NOW}
  move(id, record, 'running', 'attempt', a.attempt, 'attempts', json(attempts), 'fence', a.fence, 'worker', a.worker,
    'leased_until_ms', NOW + a.lease_ms, 'mode', a.mode, 'server', a.server or run_id(),
    'started_ms', record.started_ms or NOW, 'attempt_first', is_continued and (record.attempt_first or 1) or a.first)
  if is_continued then
    redis.call('HDEL', key, 'torn')
  else
    redis.call('HDEL', key, 'torn', 'plain')
    redis.call('DEL', key .. ':text')
  end
  dequeue(id, {owner = record.owner, batch = record.batch or '', model = record.model})
  index('SADD', 'models', record.model)
  index('ZADD', 'running:' .. record.model, NOW + a.lease_ms, id)
  index('ZADD', 'deadlines', record.deadline_ms, id)
  redis.call('SET', P .. 'claim:' .. a.fence, id, 'PX', 60000)
end

-- A running job loses its worker: it is queued again ahead of new ones, or ends. Answers what became of it. `loss` has
-- costs (1 where it counts against the attempts, 0 where it was handed back), died (true: with its process), reason (a
-- word for the log's next entry) and message (what happened, for whoever reads the job's error).
local function retry(id, max_attempts, loss)
  local key = job_key(id)
  local record = fields(id, 'status', 'model', 'owner', 'batch', 'output_at_most', 'seq', 'deadline_ms', 'cancel_ms', 'losses',
    'deaths', 'on_worker_loss', 'continuable', 'plain', 'torn', 'server')
  local losses = tonumber(record.losses) + loss.costs
  local deaths = tonumber(record.deaths or 0) + (loss.died and 1 or 0)
  if record.cancel_ms then
    end_cancelled(id)
    return 'cancelled'
  end
  redis.call('HSET', key, 'losses', losses)
  if losses >= max_attempts then
    fail(id, 'attempts_exhausted', 'attempt ' .. losses .. ' of ' .. max_attempts .. ' failed: ' .. loss.message, false)
    return 'failed'
  end
  local torn = is_torn(record)
  local said = record.plain == '0' or redis.call('STRLEN', key .. ':text') > 0
  local can_continue = record.continuable == '1' and record.plain ~= '0' and not torn
  if (said or torn) and record.on_worker_loss == 'fail' and not can_continue then
    fail(id, loss.reason == 'handed_back' and 'worker_lost' or loss.reason, 'the answer broke off: ' .. loss.message,
      true)
    return 'failed'
  end
  move(id, record, 'queued', 'again', loss.reason, 'deaths', deaths)
  if torn then
    redis.call('HSET', key, 'torn', 1)
  end
  redis.call('HDEL', key, 'fence', 'leased_until_ms', 'worker')
  index('ZREM', 'running:' .. record.model, id)
  -- What died with its process twice may have killed it: it goes on in a process of its own.
  if deaths >= 2 then
    index('ZADD', 'apart', record.seq, id)
  else
    enqueue(id, {owner = record.owner, batch = record.batch or '', model = record.model}, record.seq)
  end
  index('ZADD', 'deadlines', record.deadline_ms, id)
  return 'queued'
end
