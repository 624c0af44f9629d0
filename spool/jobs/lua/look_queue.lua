#!lua flags=no-writes,allow-stale
-- Explains why jobs of one model wait.
-- Arguments: facts is 1 for the facts of its queue.
-- Answers the facts (nothing without them): {NOW, waiting jobs, running jobs, live workers, average run of a job in ms or
-- false, waiting retries, and for each class {flows, then for each of the
-- first ones its name, virtual time, jobs, and the virtual time that a job of it takes}}.
-- Then for each id nothing (it is not queued), or {reason, place, flow, virtual time, detail...}. place is the number of
-- jobs of its flow before it, false while it is held, or for a retry (flow '') the number of retries.
-- Reasons: turn; upstream, until_ms (0: jobs are tried now), status; rate_limit, until_ms, scope (model, owner); not_before, ms;
-- conversation, job; owner_limit, running jobs, limit, scope (owner, owner_model, fairness_key).
--[[ARGUMENTS model facts:flag ids...]]
local FLOWS_AT_MOST = 200
local BATCHES_AT_MOST = 20

-- The number of jobs in the first places of a flow. A batch is one member of it; those behind the first few count as one.
local function jobs_in(flow, last)
  local name, count = flow_of(flow, model), last + 1
  if class_of_flow(flow) ~= 'batch' then return count end
  for _, member in ipairs(redis.call('ZRANGE', P .. name, 0, math.min(last, BATCHES_AT_MOST - 1))) do
    if string.sub(member, 1, 1) == 'b' then
      count = count - 1 + redis.call('ZCARD', P .. flow_of(member .. ':' .. flow, model))
    end
  end
  return count
end

-- The estimate of an answer of the model.
local function answer_tokens()
  return bounded(redis.pcall('HGET', P .. 'output-tokens', model), 0, TOKENS_AT_MOST, ANSWER_TOKENS)
end

-- The virtual time that a job of a flow takes, by its first job. `answer` is the estimate of its answer.
local function step_of(flow, answer)
  local first = redis.call('ZRANGE', P .. flow_of(flow, model), 0, 0)[1] or ''
  if string.sub(first, 1, 1) == 'b' then
    first = redis.call('ZRANGE', P .. flow_of(first .. ':' .. flow, model), 0, 0)[1] or ''
  end
  local record = fields_if_any(job_key(first), 'owner', 'model', 'fairness_weight', 'earlier_bytes')
  return math.max(1, virtual_of(prompt_tokens(first, record) + answer, weight_of(record)))
end

local function flows_of(class)
  local heads = P .. heads_of(class, model)
  local found = {redis.call('ZCARD', heads)}
  local first, answer = redis.call('ZRANGE', heads, 0, FLOWS_AT_MOST - 1, 'WITHSCORES'), answer_tokens()
  for i = 1, #first, 2 do
    local flow = first[i]
    local jobs = jobs_in(flow, redis.call('ZCARD', P .. flow_of(flow, model)) - 1)
    for _, value in ipairs({flow, first[i + 1], jobs, step_of(flow, answer)}) do found[#found + 1] = value end
  end
  return found
end

-- The hold of a queued job: its reason and detail; nil without one.
local function hold_of(id, record)
  local due = redis.call('ZSCORE', P .. 'scheduled', id)
  if due then return 'not_before', due end
  if not record.conversation then return nil end
  local first = redis.call('ZRANGE', P .. turns_of(record.owner, record.conversation), 0, 0)[1]
  if first and first ~= id then return 'conversation', first end
end

-- The flow of a job, its virtual time, and the number of jobs in it before the job.
local function place_in_flow(id, record)
  local flow = flow_name(record)
  local here = redis.call('ZSCORE', P .. heads_of(class_of(record), model), flow)
    or redis.call('HGET', P .. 'virtual:' .. flow, '@' .. model)
  local member, before = id, 0
  if record.batch and record.batch ~= '' then
    member = record.batch
    before = redis.call('ZRANK', P .. flow_of(member .. ':' .. flow, model), id) or 0
  end
  local rank = redis.call('ZRANK', P .. flow_of(flow, model), member) or 0
  return flow, here or '0', before + (rank > 0 and jobs_in(flow, rank - 1) or 0)
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

-- What keeps all jobs of the model waiting, for a job in this place; nil if they may begin.
local function model_block(before, flow, here)
  if closed_until then
    return {'upstream', before, flow, here, closed_until, closed_status}
  elseif full_until then
    return {'rate_limit', before, flow, here, full_until, 'model'}
  end
end

local function explain(id)
  local record = fields_if_any(job_key(id), 'status', 'owner', 'batch', 'priority', 'fairness_key', 'conversation')
  if record.status ~= 'queued' then return false end
  if not redis.call('ZSCORE', P .. 'pending:' .. model, id) then
    local reason, detail = hold_of(id, record)
    if reason then return {reason, false, '', '0', detail} end
    -- Quarantined, or left to a newer version.
    return {'turn', 0, '', '0'}
  end
  local retry = redis.call('ZRANK', P .. 'retries:' .. model, id)
  if retry then return model_block(retry, '', '0') or {'turn', retry, '', '0'} end
  local flow, here, before = place_in_flow(id, record)
  local block = model_block(before, flow, here)
  if block then return block end
  local _, key = owner_and_key(flow)
  local scope, running, most = flow_block(record.owner, key, model)
  if scope == 'rate' then return {'rate_limit', before, flow, here, running, 'owner'} end
  if scope then return {'owner_limit', before, flow, here, running, most, scope} end
  return {'turn', before, flow, here}
end

local function count_of(name, low)
  return redis.call('ZCOUNT', P .. name, low, '+inf')
end

-- An index of another type is an error here: it would be displaced, which this script may not do.
local function or_else(otherwise, act, ...)
  local ok, found = pcall(act, ...)
  if ok then return found end
  return otherwise
end

local reply = {false}
if facts then
  reply[1] = {
    NOW, or_else(0, count_of, 'pending:' .. model, '-inf'), or_else(0, count_of, 'running:' .. model, '-inf'),
    or_else(0, count_of, 'workers', NOW), or_else(false, index, 'HGET', 'run-ms', model),
    or_else(0, count_of, 'retries:' .. model, '-inf'),
    or_else({0}, flows_of, 'interactive'), or_else({0}, flows_of, 'batch'),
  }
end
for i = ids_at, #ARGV do
  reply[#reply + 1] = or_else(false, explain, ARGV[i])
end
return reply
