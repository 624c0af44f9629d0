-- The events of an owner: a log of what happens to its jobs and batches, written only while it is read, and for an hour
-- after (spool.jobs.event_logs). events:OWNER has the fields status (always running) and last, so followers read
-- events:OWNER:log like a job's log. Ids grow with the clock where the log begins again, so none is given twice.
-- The records are beside it, in events:OWNER:records, each after the id of the earlier event of the same job or batch: with
-- them, all records of what is deleted are deleted at once.
local EVENTS_AT_MOST = 10000
local EVENT_BYTES_AT_MOST = 8388608
local EVENT_BYTES_AT_LEAST = 65536
local EVENT_BYTES_IN_ALL = 67108864
local EVENTS_DROPPED_AT_ONCE = 100
local EVENT_METADATA_AT_MOST = 1024
local EVENT_IDS_A_MS = 10

local function has_event_readers(owner)
  return redis.call('EXISTS', P .. 'events:' .. owner) == 1
end

-- Drops the oldest events beyond the limits. The logs of all owners share one limit of bytes.
local function drop_old_events(owner)
  local log, records = P .. 'events:' .. owner .. ':log', P .. 'events:' .. owner .. ':records'
  local count = redis.call('XLEN', log)
  local share = EVENT_BYTES_IN_ALL / math.max(index('ZCARD', 'event-logs'), 1)
  local bytes = math.max(EVENT_BYTES_AT_LEAST, math.min(EVENT_BYTES_AT_MOST, share))
  if count <= EVENTS_AT_MOST and size_of(log) + size_of(records) <= bytes then return end
  local old = redis.call('XRANGE', log, '-', '+', 'COUNT', math.min(EVENTS_DROPPED_AT_ONCE, math.ceil(count / 4)))
  for i, row in ipairs(old) do old[i] = string.match(row[1], '^%d+') end
  redis.call('HDEL', records, unpack(old))
  redis.call('XTRIM', log, 'MINID', string.format('%.0f', old[#old] + 1))
end

-- `record`: JSON, after the id of the earlier event of the same job or batch; nil without one.
local function write_event(owner, n, kind, rest, before, record)
  local log = P .. 'events:' .. owner .. ':log'
  redis.call('XADD', log, n .. '-0', 'entry', encoded(n, kind, rest))
  if record then
    redis.call('HSET', P .. 'events:' .. owner .. ':records', n, before .. ' ' .. record)
    rest = rest .. ',"record":' .. record
  end
  redis.call('PUBLISH', log, n .. '\n' .. encoded(n, kind, rest))
end

-- Appends an event of the job or batch whose record is at `key`. The first one on a new run of the server follows `restarted`:
-- readers may have seen events that Redis has lost.
local function append_event(owner, kind, rest, key, record)
  local name = P .. 'events:' .. owner
  local its = named(redis.call('HMGET', name, 'last', 'run_id', 'until_ms'), 'last', 'run_id', 'until_ms')
  local last = tonumber(its.last) + 1
  if its.run_id ~= RUN_ID then
    last = math.max(last, NOW * EVENT_IDS_A_MS)
    write_event(owner, last, 'restarted', ',"reason":"redis_lost_history"')
    last = last + 1
  end
  local before = bounded(redis.call('HGET', key, 'event'), 1, 1e15, 0)
  write_event(owner, last, kind, rest, string.format('%.0f', before), record)
  redis.call('HSET', key, 'event', string.format('%.0f', last))
  redis.call('HSET', name, 'last', last, 'run_id', RUN_ID)
  drop_old_events(owner)
  redis.call('PEXPIREAT', name .. ':log', its.until_ms)
  redis.call('PEXPIREAT', name .. ':records', its.until_ms)
end

-- Deletes the records in the events of a job or batch, whose record is at `key`. The events stay.
local function forget_events(owner, key)
  local records = P .. 'events:' .. owner .. ':records'
  local n = bounded(redis.call('HGET', key, 'event'), 1, 1e15)
  while n do
    local id = string.format('%.0f', n)
    local found = redis.call('HGET', records, id)
    if not found then return end
    redis.call('HDEL', records, id)
    n = bounded(string.match(found, '^%d+'), 1, n - 1)
  end
end

-- Appends an event, which must not make the change fail that it reports. A damaged log is deleted: its readers begin again.
local function add_event(owner, kind, rest, key, record)
  --[[LIBRARY]]
  local ok, problem = pcall(function()
    if string.sub(kind, -8) == '.deleted' then forget_events(owner, key) end
    append_event(owner, kind, rest, key, record)
  end)
  if ok then return end
  local text = type(problem) == 'table' and problem.err or tostring(problem)
  if is_refusal(text) then error(problem) end
  local name = P .. 'events:' .. owner
  redis.call('DEL', name, name .. ':log', name .. ':records')
end

-- Adds the event of a change of a job, with its record. A line of a batch has none: its batch's log has its end. `kind`:
-- the event's, if it is not that of the job's state. The record of a deleted job has nothing that its caller or its model said.
local function note_change(id, owner, kind)
  --[[LIBRARY]]
  local names = {--[[JOB_FIELDS]]}
  local record = fields(id, 'lane', unpack(names))
  if record.lane then return end
  record.metadata = kind ~= 'deleted' and #(record.metadata or '') <= EVENT_METADATA_AT_MOST and record.metadata or nil
  if kind == 'deleted' then record.error = nil end
  local status = record.status == 'running' and 'started' or record.status
  add_event(owner, 'job.' .. (kind or status), ',"job":"' .. id .. '"', job_key(id), json(record))
end

-- Adds the event of a change of a batch, with its record.
local function note_batch_change(batch, kind)
  --[[LIBRARY]]
  local key = P .. 'batch:' .. batch
  local owner = redis.pcall('HGET', key, 'owner')
  if type(owner) ~= 'string' or not has_event_readers(owner) then return end
  local record = hash_at(key)
  record.metadata = kind ~= 'deleted' and #(record.metadata or '') <= EVENT_METADATA_AT_MOST and record.metadata or nil
  -- Receivers, keys and lines are of no use there, and the event may outlive the batch.
  record.errors, record.webhook, record.idempotency, record.event = nil, nil, nil, nil
  add_event(owner, 'batch.' .. kind, ',"batch":"' .. batch .. '"', key, json(record))
end
