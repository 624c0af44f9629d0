#!lua flags=no-writes,allow-stale
-- Explains why jobs of one model wait.
-- Answers {NOW, waiting jobs, running jobs, live workers, average run of a job in ms or false}, then for each id nothing
-- (it is not queued), or {place, reason, detail...}. place is the number of jobs before it, false while it is held.
-- Reasons: turn; upstream, until_ms (0: jobs are tried now), status; rate_limit, until_ms; not_before, ms; conversation, job; owner_limit, running jobs, limit.
--[[ARGUMENTS model ids...]]
local limit_known, limit

local function owner_limit()
  if not limit_known then
    limit_known, limit = true, running_limit()
  end
  return limit
end

-- The hold of a queued job: its reason and detail; nil without one.
local function hold_of(id, record)
  local due = redis.pcall('ZSCORE', P .. 'scheduled', id)
  if type(due) == 'string' then return 'not_before', due end
  if not record.conversation or not record.owner then return nil end
  local first = redis.pcall('ZRANGE', P .. turns_of(record.owner, record.conversation), 0, 0)
  if type(first) == 'table' and first[1] and first[1] ~= id then return 'conversation', first[1] end
end

-- Whether the upstream refuses the model: until when, and its status. May not write, unlike `upstream_block`.
local function refused_until()
  local closed = fields_if_any(P .. 'closed:' .. model, 'until_ms', 'status')
  local until_ms = bounded(closed.until_ms, 0, NOW + CLOSED_AT_MOST_MS)
  return until_ms and (until_ms > NOW and until_ms or 0), bounded(closed.status, 0, 999, 0)
end
local closed_until, closed_status = refused_until()

-- Until when the rates of the model keep its jobs waiting; nil if they do not.
local function rated_until()
  local until_ms
  for _, kind in ipairs({'rpm', 'tpm'}) do
    local name = 'bucket:' .. kind .. ':' .. model
    local bucket = fields_if_any(P .. name, 'most', 'a_minute')
    local most, a_minute = bounded(bucket.most, 1, 1e12), bounded(bucket.a_minute, 0.1, 1e12)
    local left = most and a_minute and left_in(name, most, a_minute) or 1
    if left < 1 then until_ms = math.max(until_ms or 0, NOW + math.ceil((1 - left) / a_minute * 60000)) end
  end
  return until_ms
end
local full_until = rated_until()

local function explain(id)
  local record = fields_if_any(job_key(id), 'status', 'owner', 'conversation')
  if record.status ~= 'queued' then return false end
  local place = redis.pcall('ZRANK', P .. 'pending:' .. model, id)
  if type(place) ~= 'number' then
    local reason, detail = hold_of(id, record)
    if reason then return {false, reason, detail} end
    -- Quarantined, or left to a newer version.
    return {0, 'turn'}
  end
  if closed_until then
    return {place, 'upstream', closed_until, closed_status}
  end
  if full_until then
    return {place, 'rate_limit', full_until}
  end
  local most = owner_limit()
  if most and record.owner and is_at_limit(record.owner, most) then
    return {place, 'owner_limit', sum_of(record.owner)[2], most}
  end
  return {place, 'turn'}
end

local function size_of_index(name, low)
  local size = redis.pcall('ZCOUNT', P .. name, low, '+inf')
  return type(size) == 'number' and size or 0
end

local run_ms = redis.pcall('HGET', P .. 'run-ms', model)
local reply = {NOW, size_of_index('pending:' .. model, '-inf'), size_of_index('running:' .. model, '-inf'),
  size_of_index('workers', NOW), type(run_ms) == 'string' and run_ms}
for i = ids_at, #ARGV do
  -- An index of another type would be displaced, which this script may not do.
  local is_known, found = pcall(explain, ARGV[i])
  reply[#reply + 1] = is_known and found
end
return reply
