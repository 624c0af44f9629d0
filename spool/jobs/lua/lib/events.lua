-- The events of an owner: a log of what happens to its jobs and batches, written only while it is read, and for an hour
-- after (spool.jobs.event_logs). events:OWNER has the fields status (always running) and last, so followers read
-- events:OWNER:log like a job's log. Ids grow with the clock where the log begins again, so none is given twice.
local EVENTS_AT_MOST = 10000
local EVENT_METADATA_AT_MOST = 1024
local EVENT_IDS_A_MS = 10

local function has_event_readers(owner)
  return redis.call('EXISTS', P .. 'events:' .. owner) == 1
end

local function write_event(owner, n, kind, rest)
  local log, entry = P .. 'events:' .. owner .. ':log', encoded(n, kind, rest)
  redis.call('XADD', log, 'MAXLEN', '~', EVENTS_AT_MOST, n .. '-0', 'entry', entry)
  redis.call('PUBLISH', log, n .. '\n' .. entry)
end

-- Appends an event. The first one on a new run of the server follows `restarted`: readers may have seen events that Redis has
-- lost.
local function append_event(owner, kind, rest)
  local key = P .. 'events:' .. owner
  local record = named(redis.call('HMGET', key, 'last', 'run_id', 'until_ms'), 'last', 'run_id', 'until_ms')
  local last = tonumber(record.last) + 1
  if record.run_id ~= RUN_ID then
    last = math.max(last, NOW * EVENT_IDS_A_MS)
    write_event(owner, last, 'restarted', ',"reason":"redis_lost_history"')
    last = last + 1
  end
  write_event(owner, last, kind, rest)
  redis.call('HSET', key, 'last', last, 'run_id', RUN_ID)
  redis.call('PEXPIREAT', key .. ':log', record.until_ms)
end

-- Appends an event, which must not make the change fail that it reports. A damaged log is deleted: its readers begin again.
local function add_event(owner, kind, rest)
  --[[LIBRARY]]
  local ok, problem = pcall(append_event, owner, kind, rest)
  if ok then return end
  local text = type(problem) == 'table' and problem.err or tostring(problem)
  if is_refusal(text) then error(problem) end
  redis.call('DEL', P .. 'events:' .. owner, P .. 'events:' .. owner .. ':log')
end

-- Adds the event of a change of a job, with its record. A line of a batch has none: its batch's log has its end. `kind`:
-- the event's, if it is not that of the job's state.
local function note_change(id, owner, kind)
  --[[LIBRARY]]
  local names = {--[[JOB_FIELDS]]}
  local record = fields(id, 'lane', unpack(names))
  if record.lane then return end
  record.metadata = #(record.metadata or '') <= EVENT_METADATA_AT_MOST and record.metadata or nil
  local status = record.status == 'running' and 'started' or record.status
  add_event(owner, 'job.' .. (kind or status), ',"job":"' .. id .. '","record":' .. json(record))
end

-- Adds the event of a change of a batch, with its record.
local function note_batch_change(batch, kind)
  --[[LIBRARY]]
  local owner = redis.pcall('HGET', P .. 'batch:' .. batch, 'owner')
  if type(owner) ~= 'string' or not has_event_readers(owner) then return end
  local record = hash_at(P .. 'batch:' .. batch)
  record.metadata = #(record.metadata or '') <= EVENT_METADATA_AT_MOST and record.metadata or nil
  -- Receivers, keys and lines are of no use there, and the event may outlive the batch.
  record.errors, record.webhook, record.idempotency = nil, nil, nil
  add_event(owner, 'batch.' .. kind, ',"batch":"' .. batch .. '","record":' .. json(record))
end
