-- A batch whose lines wait in blocks: its record counts them, and its log has an entry for each line that has ended.
-- Lines of one model are a lane. `batch:ID:flight:LANE` has the jobs of a lane that have not ended, by batch_index.
-- Such a job has `lane` in its record; a batch without lanes, of an older version, has no log.
local FOLD_ENTRIES = 500
local FOLD_PAGES = 100
local UNBOOKED_AT_MOST = 65536
local JUMP_AGE_AT_MOST_MS = 2800000000
local JUMP_IDS_A_MS = 30000
local LANES_AT_MOST = 1000
local LATE_AT_ONCE = 100
local LATE_KEPT_MS = 86400000
local WEBS_SETTLE_MS = 3000
local ENDED_LINES = {succeeded = true, failed = true, cancelled = true}
local STOPS = {cancelled = 'the batch was cancelled', expired = 'the batch did not complete within its completion_window'}

-- Whether a batch ends once each line so far has ended.
local function can_end(record)
  return record.status ~= 'open' or record.stop
end

local function batch_record(batch)
  return fields_if_any(P .. 'batch:' .. batch, 'status', 'state', 'stop', 'last', 'total', 'ended', 'ttl_s', 'owner',
    'idempotency', 'input_tokens', 'output_tokens', 'lanes', 'run_id', 'created_ms', 'history_lost')
end

-- Whether Redis has lost entries of a batch's log that readers have seen: whole (none); lost; or unknown, for a moment after a
-- restart: the log must not be written then, because webs still report what they have read.
local function history_of(record)
  if not record.run_id or record.run_id == RUN_ID then return 'whole' end
  if record.history_lost then return 'lost' end
  meet_webs()
  if index('SCARD', 'unconfirmed-webs') == 0 then
    -- Without a known web, those of an older version may have read it.
    return redis.call('EXISTS', P .. 'batch-webs') == 1 and 'whole' or 'lost'
  end
  return NOW - bounded(index('HGET', 'server', 'webs_since_ms'), 0, NOW, 0) < WEBS_SETTLE_MS and 'unknown' or 'lost'
end

-- Appends an entry under the id `n`, or the next one that the log allows: the record's `last` may be damaged. Answers the
-- id.
local function write_to_batch(batch, n, kind, rest)
  --[[LIBRARY]]
  local name, entry = 'batch:' .. batch .. ':log', encoded(n, kind, rest)
  local ok, problem = pcall(index, 'XADD', name, n .. '-0', 'entry', entry)
  if not ok then
    local newest = index('XREVRANGE', name, '+', '-', 'COUNT', 1)[1]
    local last = tonumber(newest and string.match(newest[1], '^%d+'))
    if not last or last < n then error(problem) end
    n = last + 1
    entry = encoded(n, kind, rest)
    index('XADD', name, n .. '-0', 'entry', entry)
  end
  redis.call('PUBLISH', P .. name, n .. '\n' .. entry)
  return n
end

-- The number of a batch's lanes. `lanes` is the record's value, which may be damaged.
local function lane_count(batch, lanes)
  local count = bounded(lanes, 0, LANES_AT_MOST)
  if count then return count end
  count = 0
  while count < LANES_AT_MOST and redis.pcall('HEXISTS', P .. 'batch:' .. batch, 'size:' .. count) == 1 do count = count + 1 end
  return count
end

-- Jumps: readers have seen entries that Redis has lost, or may have, and whose lines come again in another order. The id of
-- `restarted` is a round number that is ahead of all that they have seen; it grows with the batch's age, because a jump itself
-- can be lost. It stays below 10^14 (id_after_jump).
local function jump_in_batch(batch, record)
  --[[LIBRARY]]
  local age_ms = math.min(NOW - bounded(record.created_ms, 0, NOW, NOW), JUMP_AGE_AT_MOST_MS)
  local ahead = math.max(bounded(record.last, 0, 1e14, 0), bounded(record.history_lost, 0, 1e14, 0), age_ms * JUMP_IDS_A_MS)
  record.last = write_to_batch(batch, (math.ceil(ahead / 100000) + 5) * 100000, 'restarted', ',"reason":"redis_lost_history"')
  redis.call('HSET', P .. 'batch:' .. batch, 'last', record.last)
end

-- Before the first entry on a new run of the server: jumps if readers have seen what Redis has lost. Lines that follow the fed ones
-- may have been jobs before.
local function continue_log(batch, record)
  --[[LIBRARY]]
  if history_of(record) ~= 'whole' then jump_in_batch(batch, record) end
  local changes = {'run_id', RUN_ID}
  for lane = 0, lane_count(batch, record.lanes) - 1 do
    changes[#changes + 1] = 'fed_again:' .. lane
    changes[#changes + 1] = fed_of(batch, lane, redis.call('HGET', P .. 'batch:' .. batch, 'fed:' .. lane)) + WINDOW_AT_MOST
  end
  redis.call('HSET', P .. 'batch:' .. batch, unpack(changes))
  redis.call('HDEL', P .. 'batch:' .. batch, 'history_lost')
  record.run_id, record.history_lost = RUN_ID, nil
end

-- Appends an entry to a batch's log. `record` is that of the batch, and is brought up to date.
local function push_to_batch(batch, record, kind, rest)
  if record.run_id and record.run_id ~= RUN_ID then continue_log(batch, record) end
  record.last = write_to_batch(batch, bounded(record.last, 0, 1e14, 0) + 1, kind, rest)
end

-- The counts of a batch, as JSON.
local function counts_of(batch)
  local names, parts = {'queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired'}, {}
  local values = redis.call('HMGET', P .. 'batch:' .. batch, unpack(names))
  for i, name in ipairs(names) do parts[i] = '"' .. name .. '":' .. (tonumber(values[i] or nil) or 0) end
  return '{' .. table.concat(parts, ',') .. '}'
end

-- The names of a batch's keys besides its record and its log.
local function keys_of_lines(batch, lanes)
  local names = {'batch:' .. batch .. ':lines', 'batch:' .. batch .. ':pieces', 'batch:' .. batch .. ':late'}
  for lane = 0, lane_count(batch, lanes) - 1 do names[#names + 1] = 'batch:' .. batch .. ':flight:' .. lane end
  return names
end

-- Books what a batch's lines and log take, which count as its owner's bytes until they expire. While it runs, the
-- reservation of its lines covers them as long as it is larger.
local function book_batch(batch, owner, has_ended)
  --[[LIBRARY]]
  local before, whose = booked(batch)
  whose = whose or owner and {owner = owner, batch = '', model = '-'}
  if not whose then return end
  local bytes = size_of(P .. 'batch:' .. batch .. ':lines') + size_of(P .. 'batch:' .. batch .. ':log')
  if has_ended then
    book(batch, whose, before, {0, 0, bytes, 0, 0})
  elseif bytes - before[3] > UNBOOKED_AT_MOST then
    book(batch, whose, before, {before[1], before[2], bytes, before[4], before[5]})
  end
end

-- Gives a batch its last state and all its keys their expiry. Its log has its terminal entry.
local function close_batch(batch, record, status, state)
  local key, ttl_ms = P .. 'batch:' .. batch, bounded(record.ttl_s, 1, 1e9, 86400) * 1000
  redis.call('HSET', key, 'status', status, 'state', state, 'last', record.last, 'finalizing_ms', NOW, 'ended_ms', NOW, 'queued', 0,
    'running', 0)
  for _, name in ipairs(keys_of_lines(batch, record.lanes)) do redis.call('PEXPIRE', P .. name, ttl_ms) end
  redis.call('PEXPIRE', key, ttl_ms)
  redis.call('PEXPIRE', key .. ':log', ttl_ms)
  if record.idempotency and record.idempotency ~= '' then
    redis.call('PEXPIRE', P .. 'idempotency:' .. record.idempotency, ttl_ms)
  end
  index('ZREM', 'feeding', batch)
  index('ZREM', 'feeding-open', batch)
  index('ZREM', 'staging', batch)
  if record.owner then
    index('SREM', 'open-batches:' .. record.owner, batch)
    index('ZADD', 'expiring', NOW + ttl_ms, record.owner .. ' ' .. batch)
  end
  index('ZADD', 'unpacked-batches', NOW, batch)
  book_batch(batch, record.owner, true)
  note_batch_change(batch, state)
  post_batch_end(batch, state)
end

-- Ends a batch after its last line; or leaves that to the feeder.
local function finish_batch(batch, record)
  --[[LIBRARY]]
  if history_of(record) == 'unknown' then return end
  redis.call('HSET', P .. 'batch:' .. batch, 'queued', 0, 'running', 0)
  local state, status, kind, head = 'completed', 'succeeded', 'done', ',"finish_reason":"completed"'
  if record.stop == 'cancelled' then
    state, status, kind, head = 'cancelled', 'cancelled', 'cancelled', ''
  elseif record.stop == 'expired' then
    state, status, kind = 'expired', 'failed', 'failed'
    head = ',"error":{"code":"batch_expired","message":"' .. STOPS.expired .. '","retryable":true}'
  end
  push_to_batch(batch, record, kind, head .. ',"state":"' .. state .. '","counts":' .. counts_of(batch))
  close_batch(batch, record, status, state)
end

-- Appends the entry of a line that has ended, and after the last one ends the batch. `line` is JSON: ',"name":value…'.
local function add_line(batch, record, line)
  push_to_batch(batch, record, 'line', line)
  record.ended = bounded(record.ended, 0, 1e9, 0) + 1
  redis.call('HSET', P .. 'batch:' .. batch, 'last', record.last, 'ended', record.ended, 'input_tokens',
    bounded(record.input_tokens, 0, 1e15, 0), 'output_tokens', bounded(record.output_tokens, 0, 1e15, 0))
  if record.ended >= bounded(record.total, 0, 1e9, 1e9) and can_end(record) then finish_batch(batch, record) end
end

-- Stored JSON as it is; null if it is missing or damaged.
local function json_or_null(text)
  return text and pcall(cjson.decode, text) and text or 'null'
end

-- The reasoning, the tool calls and, if there is one, the result of a job's current attempt, as JSON.
local function fold_of(id, record)
  local reasoning, calls, order, result = {}, {}, {}, {}
  local after = bounded(record.attempt_first, 1, 1e14, 1) - 1
  for _ = 1, FOLD_PAGES do
    local rows = redis.pcall('XRANGE', job_key(id) .. ':log', '(' .. after .. '-0', '+', 'COUNT', FOLD_ENTRIES)
    if error_of(rows) then break end
    for _, row in ipairs(rows) do
      local entry = row[2][2] or ''
      local kind = string.match(entry, '^{"id":%d+,"kind":"([%l_]+)"')
      -- Most entries of a long log: their text is JSON already, and decoding each would hold up Redis.
      local escaped = kind == 'reasoning' and string.match(entry, '","text":"([^"]*)"}$')
      local is_read = not escaped and (kind == 'reasoning' or kind == 'tool_call' or kind == 'result')
      local ok, said
      if is_read then ok, said = pcall(cjson.decode, entry) end
      if escaped then
        reasoning[#reasoning + 1] = escaped
      elseif ok and kind == 'result' then
        result[#result + 1] = said.body
      elseif ok and kind == 'reasoning' then
        reasoning[#reasoning + 1] = string.sub(json(said.text), 2, -2)
      elseif ok and kind == 'tool_call' then
        local at = tostring(said.index)
        if not calls[at] then
          calls[at] = {arguments = {}}
          order[#order + 1] = at
        end
        local call = calls[at]
        call.id = call.id or said.call_id ~= cjson.null and said.call_id
        call.name = call.name or said.name ~= cjson.null and said.name
        call.arguments[#call.arguments + 1] = type(said.arguments) == 'string' and said.arguments or nil
      end
      after = string.match(row[1], '^%d+')
    end
    if #rows < FOLD_ENTRIES then break end
  end
  for i, at in ipairs(order) do
    local call = calls[at]
    order[i] = '{"id":' .. json(call.id or cjson.null) .. ',"name":' .. json(call.name or cjson.null) .. ',"arguments":'
      .. json(table.concat(call.arguments)) .. '}'
  end
  return reasoning[1] and '"' .. table.concat(reasoning) .. '"' or 'null', '[' .. table.concat(order, ',') .. ']',
    result[1] and json(table.concat(result))
end

-- The result line of a job that has ended, as JSON.
local function line_of(id, record, status, stop)
  local text = redis.pcall('GET', job_key(id) .. ':text')
  local reasoning, calls, result = fold_of(id, record)
  local problem = json_or_null(record.error)
  if problem == 'null' and STOPS[stop] and status ~= 'succeeded' then
    problem = '{"code":"batch_' .. stop .. '","message":"' .. STOPS[stop] .. '","retryable":true}'
  end
  local parts = {',"batch_index":', bounded(record.batch_index, 0, 1e9, 0), ',"job":"', id, '","status":"', status,
    '","model":', json(record.model), ',"surface":', json(record.surface or 'batches'), ',"created_ms":', bounded(record.created_ms, 0, 1e14, NOW),
    ',"started_ms":', bounded(record.started_ms, 0, 1e14, 'null'), ',"ended_ms":', bounded(record.ended_ms, 0, NOW, NOW), ',"deadline_ms":', bounded(record.deadline_ms, 0, 1e14, NOW),
    ',"attempt":', bounded(record.attempt, 0, 1e9, 0), ',"entries":', bounded(record.last, 0, 1e14, 0),
    ',"content":', json(type(text) == 'string' and text or ''), ',"reasoning":', reasoning, ',"tool_calls":', calls,
    ',"finish_reason":', record.finish_reason and json(record.finish_reason) or 'null', ',"usage":', json_or_null(record.usage),
    ',"error":', problem, ',"metadata":', json_or_null(record.metadata)}
  for _, name in ipairs({'custom_id', 'priority', 'fairness_key', 'request_id'}) do
    if record[name] and record[name] ~= '' then parts[#parts + 1] = ',"' .. name .. '":' .. json(record[name]) end
  end
  if result then parts[#parts + 1] = ',"result":' .. result end
  if record.coalesce then parts[#parts + 1] = ',"coalesce":' .. json_or_null(record.coalesce) end
  return table.concat(parts)
end

-- Adds the entry of a batch's job that has ended. `record` is the job's, with what its end has changed.
local function end_line(id, record, status)
  --[[LIBRARY]]
  local batch = record.batch
  local its = batch_record(batch)
  if is_begun(its.status) and history_of(its) == 'unknown' then
    -- The feeder ends the line soon (end_late_lines). If no process runs now, the job must still be there then.
    for _, name in ipairs({'', ':log', ':text'}) do redis.call('PEXPIRE', job_key(id) .. name, LATE_KEPT_MS) end
    index('RPUSH', 'batch:' .. batch .. ':late', record.lane .. ' ' .. id)
    return
  end
  if index('ZREM', 'batch:' .. batch .. ':flight:' .. record.lane, id) == 0 then return end
  if not is_begun(its.status) then return end
  if status == 'cancelled' and its.stop == 'expired' then
    redis.pcall('HINCRBY', P .. 'batch:' .. batch, 'cancelled', -1)
    redis.pcall('HINCRBY', P .. 'batch:' .. batch, 'expired', 1)
    status = 'expired'
  end
  local usage = decoded_usage(record.usage)
  its.input_tokens = bounded(its.input_tokens, 0, 1e15, 0) + bounded(usage.input_tokens, 0, 1e9, 0)
  its.output_tokens = bounded(its.output_tokens, 0, 1e15, 0) + bounded(usage.output_tokens, 0, 1e9, 0)
  add_line(batch, its, line_of(id, record, status, its.stop))
end

-- After an error in `end_line`: the feeder ends the line later (check_flight).
local function keep_line(id, record, problem)
  --[[LIBRARY]]
  local text = type(problem) == 'table' and problem.err or tostring(problem)
  if is_refusal(text) then error(text) end
  notice('line of job ' .. id .. ' did not end: ' .. text)
  index('ZADD', 'batch:' .. record.batch .. ':flight:' .. record.lane, bounded(record.batch_index, 0, 1e9, 0), id)
end

-- Ends the line of a job that no longer exists, or cannot end because its record is damaged.
local function end_lost_line(batch, lane, id, batch_index)
  --[[LIBRARY]]
  index('ZREM', 'batch:' .. batch .. ':flight:' .. lane, id)
  local its = batch_record(batch)
  if not is_begun(its.status) then return end
  redis.pcall('HINCRBY', P .. 'batch:' .. batch, 'failed', 1)
  add_line(batch, its, ',"batch_index":' .. bounded(batch_index, 0, 1e9, 0) .. ',"job":"' .. id
    .. '","status":"failed","content":"","error":{"code":"record_damaged","message":"the job of this line was lost","retryable":true}')
end

-- Ends the line of a job that is gone, set aside, or has ended without doing so itself because a record was damaged.
local function check_flight(batch, lane, id, batch_index)
  local state, is_other = fields_if_any(job_key(id), 'id', 'ended_ms')
  if state.ended_ms then
    local record = hash_at(job_key(id))
    local status = ENDED_LINES[record.status] and record.status or 'failed'
    -- Its end did not count where its record did not name the batch.
    if record.batch ~= batch then redis.pcall('HINCRBY', P .. 'batch:' .. batch, status, 1) end
    record.batch, record.lane, record.batch_index = batch, lane, batch_index
    end_line(id, record, status)
  elseif not is_other and redis.call('EXISTS', job_key(id)) == 0 or index('HEXISTS', 'set-aside', id) == 1 then
    end_lost_line(batch, lane, id, batch_index)
  end
end

-- Ends lines whose jobs have ended while the batch's log must not be written, in the order of their ends.
local function end_late_lines(batch)
  for _, one in ipairs(index('LPOP', 'batch:' .. batch .. ':late', LATE_AT_ONCE) or {}) do
    local lane, id = string.match(one, '^(%d+) (.+)$')
    local batch_index = lane and index('ZSCORE', 'batch:' .. batch .. ':flight:' .. lane, id)
    if batch_index then check_flight(batch, lane, id, batch_index) end
  end
end

-- For each lane of a batch with lines left and room in its window: the lane, its lines that are jobs already, and how many
-- more may be. For a stopped batch, all lanes with lines left. Ends lines of jobs that were lost, and a batch whose record
-- is damaged, so that it did not end with its last line.
local function lanes_of(batch, record, window)
  local found, key, is_left = {}, P .. 'batch:' .. batch, false
  local is_known = history_of(record) ~= 'unknown'
  if is_known then end_late_lines(batch) end
  for lane = 0, lane_count(batch, record.lanes) - 1 do
    local flight = 'batch:' .. batch .. ':flight:' .. lane
    local first = index('ZRANGE', flight, 0, 0, 'WITHSCORES')
    if first[1] and is_known then check_flight(batch, lane, first[1], first[2]) end
    local sizes = redis.call('HMGET', key, 'fed:' .. lane, 'size:' .. lane)
    local fed, size = fed_of(batch, lane, sizes[1]), bounded(sizes[2], 0, 1e9, 0)
    local waiting = index('ZCARD', flight)
    is_left = is_left or fed < size or waiting > 0
    if fed < size and (record.stop or not record.paused and waiting <= window / 2) then
      found[#found + 1] = {lane, fed, math.min(size - fed, window - waiting)}
    end
  end
  if not is_left then
    local its = batch_record(batch)
    if is_begun(its.status) and can_end(its) then finish_batch(batch, its) end
  end
  return found
end

-- Ends a batch whose lines were not accepted. `problem` is JSON.
local function fail_batch(batch, problem)
  --[[LIBRARY]]
  local its = batch_record(batch)
  push_to_batch(batch, its, 'failed', ',"error":' .. problem .. ',"state":"failed","counts":' .. counts_of(batch))
  close_batch(batch, its, 'failed', 'failed')
end
