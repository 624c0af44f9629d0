-- A batch whose lines wait in blocks: its record counts them, and its log has an entry for each line that has ended.
-- Lines of one model are a lane. `batch:ID:flight:LANE` has the jobs of a lane that have not ended, by batch_index.
-- Such a job has `lane` in its record; a batch without lanes, of an older version, has no log.
local FOLD_ENTRIES = 500
local FOLD_PAGES = 40
local STOPS = {cancelled = 'the batch was cancelled', expired = 'the batch did not complete within its completion_window'}

local function batch_record(batch)
  return fields_if_any(P .. 'batch:' .. batch, 'status', 'state', 'stop', 'last', 'total', 'ended', 'ttl_s', 'owner',
    'idempotency', 'input_tokens', 'output_tokens', 'lanes')
end

-- Appends an entry to a batch's log. `record` is that of the batch, and is brought up to date.
local function push_to_batch(batch, record, kind, rest)
  local n = bounded(record.last, 0, 1e14, 0) + 1
  local entry, name = encoded(n, kind, rest), 'batch:' .. batch .. ':log'
  index('XADD', name, n .. '-0', 'entry', entry)
  redis.call('PUBLISH', P .. name, n .. '\n' .. entry)
  record.last = n
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
  local names = {'batch:' .. batch .. ':lines'}
  for lane = 0, bounded(lanes, 0, 1000, 0) - 1 do names[#names + 1] = 'batch:' .. batch .. ':flight:' .. lane end
  return names
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
  index('ZREM', 'staging', batch)
  if record.owner then index('ZADD', 'expiring', NOW + ttl_ms, record.owner .. ' ' .. batch) end
  unbook(batch)
  post_batch_end(batch, state)
end

-- Ends a batch after its last line.
local function finish_batch(batch, record)
  --[[LIBRARY]]
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
  if record.ended >= bounded(record.total, 0, 1e9, 1e9) then finish_batch(batch, record) end
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
      local ok, said = pcall(cjson.decode, (kind == 'reasoning' or kind == 'tool_call' or kind == 'result') and entry or '')
      if ok and kind == 'result' then
        result[#result + 1] = said.body
      elseif ok and kind == 'reasoning' then
        reasoning[#reasoning + 1] = said.text
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
  return reasoning[1] and json(table.concat(reasoning)) or 'null', '[' .. table.concat(order, ',') .. ']',
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
    ',"started_ms":', bounded(record.started_ms, 0, 1e14, 'null'), ',"ended_ms":', NOW, ',"deadline_ms":', bounded(record.deadline_ms, 0, 1e14, NOW),
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
  if index('ZREM', 'batch:' .. batch .. ':flight:' .. record.lane, id) == 0 then return end
  local its = batch_record(batch)
  if its.status ~= 'running' then return end
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

-- Ends the line of a job that no longer exists, or cannot end because its record is damaged.
local function end_lost_line(batch, lane, id, batch_index)
  --[[LIBRARY]]
  index('ZREM', 'batch:' .. batch .. ':flight:' .. lane, id)
  local its = batch_record(batch)
  if its.status ~= 'running' then return end
  redis.pcall('HINCRBY', P .. 'batch:' .. batch, 'failed', 1)
  add_line(batch, its, ',"batch_index":' .. bounded(batch_index, 0, 1e9, 0) .. ',"job":"' .. id
    .. '","status":"failed","content":"","error":{"code":"record_damaged","message":"the job of this line was lost","retryable":true}')
end

-- For each lane of a batch with lines left and room in its window: the lane, its lines that are jobs already, and how many
-- more may be. For a stopped batch, all lanes with lines left. Ends lines of jobs that were lost.
local function lanes_of(batch, record, window)
  local found, key = {}, P .. 'batch:' .. batch
  for lane = 0, bounded(record.lanes, 0, 1000, 0) - 1 do
    local flight = 'batch:' .. batch .. ':flight:' .. lane
    local first = index('ZRANGE', flight, 0, 0, 'WITHSCORES')
    if first[1] and (redis.call('EXISTS', job_key(first[1])) == 0 or index('HEXISTS', 'set-aside', first[1]) == 1) then
      end_lost_line(batch, lane, first[1], first[2])
    end
    local sizes = redis.call('HMGET', key, 'fed:' .. lane, 'size:' .. lane)
    local fed, size = bounded(sizes[1], 0, 1e9, 0), bounded(sizes[2], 0, 1e9, 0)
    local waiting = index('ZCARD', flight)
    if fed < size and (record.stop or not record.paused and waiting <= window / 2) then
      found[#found + 1] = {lane, fed, math.min(size - fed, window - waiting)}
    end
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
