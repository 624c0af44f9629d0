-- Validates a job's record, and handles a damaged one: the job ends, or is set aside if it cannot end.
local SET_ASIDE_AT_MOST = 10000
local REASON_BYTES = 200
local NUMBERS = {'seq', 'created_ms', 'deadline_ms', 'ttl_s', 'attempt', 'losses', 'last'}
local NUMBERS_IF_THERE = {'start_by_ms', 'started_ms', 'ended_ms', 'cancel_ms', 'attempt_first', 'deaths', 'batch_index',
  'leased_until_ms', 'not_before_ms', 'continue_at_most'}
local DECIMALS = {'fairness_weight', 'start_within_s'}
local LISTS = {'attempts', 'usage', 'error', 'metadata', 'coalesce', 'webhook'}
local WORDS = {priority = {interactive = true, batch = true}, on_disconnect = {continue = true, cancel = true},
  on_worker_loss = {restart = true, fail = true, ['restart packed'] = true, ['fail packed'] = true}, on_busy = {enqueue = true, reject = true, interrupt = true}}
local ENDS = {done = 'succeeded', failed = 'failed', cancelled = 'cancelled'}

-- Lua and Redis write integers of up to fifteen digits; times before the year 5138 have at most fourteen.
local function is_whole(value, name)
  local digits = name == 'ttl_s' and 9 or name and string.find(name, '_ms$') and 14 or 15
  return value and value ~= '' and #value <= digits and not string.find(value, '[^0-9]')
end

local function is_name(value)
  return value and value ~= '' and not string.find(value, '[%c%s]')
end

local function shown(value)
  return value and '"' .. string.gsub(string.sub(value, 1, 40), '[^%w .,:;_/-]', '?') .. '"' or 'missing'
end

local function is_list(text)
  local ok, value = pcall(cjson.decode, text)
  return ok and type(value) == 'table'
end

-- A description of the fault of a record; nil without one.
local function fault_of(id, record)
  local status = record.status
  if record.schema and not is_whole(record.schema) then return 'schema is ' .. shown(record.schema) end
  if record.id ~= id then return 'id is ' .. shown(record.id) end
  if not is_name(record.owner) then return 'owner is ' .. shown(record.owner) end
  if not record.model or record.model == '' then return 'model is ' .. shown(record.model) end
  if not TRANSITIONS[status] then return 'status is ' .. shown(status) end
  for _, name in ipairs(NUMBERS) do
    if not is_whole(record[name], name) then return name .. ' is ' .. shown(record[name]) end
  end
  for _, name in ipairs(NUMBERS_IF_THERE) do
    if record[name] and not is_whole(record[name], name) then return name .. ' is ' .. shown(record[name]) end
  end
  if status == 'running' and not record.leased_until_ms then return 'leased_until_ms is missing' end
  if record.attempts and not is_list(record.attempts) then return 'attempts is ' .. shown(record.attempts) end
end

-- Reads and validates a job's record. Answers the verdict, a description of the fault, and the record. The verdict is
-- missing, sound, newer (a newer version of Spool wrote it; it must not be changed) or damaged.
local function judge(id)
  --[[LIBRARY]]
  local raw = redis.pcall('HGETALL', job_key(id))
  local text = error_of(raw)
  if text then
    if not string.find(text, 'WRONGTYPE', 1, true) then error(text) end
    return 'damaged', 'the record is not a hash'
  end
  if #raw == 0 then return 'missing' end
  local record = {}
  for i = 1, #raw, 2 do
    record[raw[i]] = raw[i + 1]
  end
  if is_whole(record.schema) and tonumber(record.schema) > SCHEMA then return 'newer', nil, record end
  local fault = fault_of(id, record)
  return fault and 'damaged' or 'sound', fault, record
end

-- Removes a job from every work index, independent of its record.
local function leave_indexes(id)
  dequeue_booked(id)
  for _, model in ipairs(index('SMEMBERS', 'models')) do
    unindex('pending:' .. model, id)
    index('ZREM', 'running:' .. model, id)
  end
  unindex('quarantine', id)
  index('ZREM', 'deadlines', id)
  index('ZREM', 'reader_leases', id)
  local record = fields_if_any(job_key(id), 'owner', 'conversation', 'model', 'priority', 'batch', 'fairness_key')
  if record.owner and record.model then
    local owner, key = owner_and_key(who_of(record).flow)
    count_running(id, owner or '', key or '', record.model, false)
  end
  release(id, {owner = record.owner or '', conversation = record.conversation})
end

local function owner_of(record)
  if is_name(record.owner) then return record.owner end
  local said = record.idempotency and string.match(record.idempotency, '^([^:%s]+):')
  local in_batch = record.batch and redis.pcall('HGET', P .. 'batch:' .. record.batch, 'owner')
  return said or type(in_batch) == 'string' and in_batch or nil
end

-- The last entry's id and kind, from the log itself, and whether it is packed; 0 without a log.
local function end_of_log(id)
  local packed, packed_kind = end_of_packed(id)
  if packed then return packed, packed_kind, true end
  local rows = redis.pcall('XREVRANGE', job_key(id) .. ':log', '+', '-', 'COUNT', 1)
  local info = redis.pcall('XINFO', 'STREAM', job_key(id) .. ':log')
  local last, kind = 0, nil
  if not error_of(rows) and rows[1] then
    kind = string.match(rows[1][2][2] or '', '^{"id":%d+,"kind":"(%l+)"')
  end
  for i = 1, error_of(info) and 0 or #info, 2 do
    if info[i] == 'last-generated-id' then last = tonumber(string.match(info[i + 1], '^(%d+)')) end
  end
  return last, kind
end

-- Replaces each damaged field by a usable value, so that the job can end like any other.
local function repair(id, record, owner)
  local key, last, _, is_packed = job_key(id), end_of_log(id)
  local usual = {seq = 1, created_ms = NOW, deadline_ms = NOW, ttl_s = 86400, attempt = 0, losses = 0, last = last}
  local schema = is_packed and PACKED or (record.lane or record.endpoint) and LINE or (record.conversation or record.not_before_ms) and 3 or record.before and 2 or 1
  redis.call('HSET', key, 'schema', schema, 'id', id, 'owner', owner, 'model', record.model ~= '' and record.model or 'unknown')
  for _, name in ipairs(NUMBERS) do
    if not is_whole(record[name], name) then redis.call('HSET', key, name, usual[name]) end
  end
  for _, name in ipairs(NUMBERS_IF_THERE) do
    if record[name] and not is_whole(record[name], name) then redis.call('HDEL', key, name) end
  end
  if is_whole(record.last) and tonumber(record.last) < last then redis.call('HSET', key, 'last', last) end
  for _, name in ipairs(LISTS) do
    if record[name] and not is_list(record[name]) then redis.call('HDEL', key, name) end
  end
  for _, name in ipairs(DECIMALS) do
    if record[name] and not string.find(record[name], '^%d+%.?%d*$') then redis.call('HDEL', key, name) end
  end
  for name, words in pairs(WORDS) do
    if record[name] and not words[record[name]] then redis.call('HDEL', key, name) end
  end
  if not TRANSITIONS[record.status] then
    redis.call('HSET', key, 'status', record.fence and 'running' or 'queued')
  end
end

local function end_repaired(id, fault)
  local last, kind = end_of_log(id)
  if ENDS[kind] then
    close(id, ENDS[kind])
    return
  end
  fail(id, 'record_damaged', 'the record of this job is damaged: ' .. fault, false)
end

-- Sets aside a job that cannot even end: it leaves every index, and its keys stay for a week.
local function set_aside(id, fault)
  leave_indexes(id)
  unbook(id)
  for _, name in ipairs({'', ':input', ':log', ':text'}) do
    redis.call('PEXPIRE', job_key(id) .. name, DAMAGE_KEPT_MS)
  end
  if index('HEXISTS', 'set-aside', id) == 1 then return end
  if index('HLEN', 'set-aside') < SET_ASIDE_AT_MOST then
    index('HSET', 'set-aside', id, json({reason = fault, since_ms = NOW}))
    redis.call('PEXPIRE', P .. 'set-aside', DAMAGE_KEPT_MS)
  end
  notice('job ' .. id .. ' set aside: ' .. fault)
end

-- Ends a damaged job, however little of it can be read. `owner`: if the caller knows it. `seen`: the caller's
-- description of a fault that the record does not show. Answers ended, repaired (it had ended before), set_aside,
-- newer, sound (nothing was done), or missing.
local function end_damaged(id, seen, owner)
  --[[LIBRARY]]
  local verdict, fault, record = judge(id)
  fault = fault or seen
  if verdict == 'newer' or verdict == 'missing' or not fault then return verdict end
  fault = string.sub(fault, 1, REASON_BYTES)
  if not record and owner then redis.call('DEL', job_key(id)) end
  record = record or {}
  owner = owner or owner_of(record)
  if not owner then
    set_aside(id, fault)
    return 'set_aside'
  end
  local has_ended = TRANSITIONS[record.status] and not next(TRANSITIONS[record.status])
  local ok, problem = pcall(function()
    leave_indexes(id)
    repair(id, record, owner)
    if not has_ended then end_repaired(id, fault) end
  end)
  if not ok then
    if is_refusal(tostring(problem)) then error(problem) end
    set_aside(id, fault .. '; ' .. tostring(problem))
    return 'set_aside'
  end
  index('HDEL', 'set-aside', id)
  if has_ended and judge(id) == 'damaged' then return 'set_aside' end
  notice('job ' .. id .. (has_ended and ' repaired: ' or ' ended as record_damaged: ') .. fault)
  return has_ended and 'repaired' or 'ended'
end

-- Handles an error of an action on one job: the job counts as damaged, unless Redis refuses such commands now.
local function end_after(id, problem)
  --[[LIBRARY]]
  local text = type(problem) == 'table' and problem.err or tostring(problem)
  if is_refusal(text) then error(text) end
  return end_damaged(id, text)
end

-- After an error in a worker's call on its job: whether the record is damaged, so that the job has ended or is set
-- aside.
local function is_lost_after(id)
  --[[LIBRARY]]
  local ok, became = pcall(end_damaged, id)
  return ok and (became == 'ended' or became == 'repaired' or became == 'set_aside')
end
