-- The queue of a model: retries:MODEL, then for each class heads:CLASS:MODEL (flows by virtual time) → flow:FLOW:MODEL
-- (jobs, and batches, in the order of submit) → flow:BATCH:FLOW:MODEL (jobs of a batch). So the cost of a claim depends
-- neither on the number of jobs nor on that of flows at a limit. pending:MODEL has all jobs, for counts and positions.
-- A job's score is its rank (0 retry, 1 interactive, 2 batch) × 10^15 + its number in the order of submit.
-- In a flow, a job whose start_within_s is near has the time by which it must begin as its score: it is before others.
local RANK = 1e15
-- start_within_s is near in its second half, and in its last ten seconds (spool.jobs.scheduling.NEAR_S).
local NEAR_MS = 10000
-- Parked flows without jobs that one call drops; the keeper's next round goes on.
local DROPPED_AT_MOST = 100

-- The time from which start_within_s is near, and the time by which the job must begin; nil for a job that has begun,
-- or without start_within_s. `record` needs attempt, start_within_s, start_by_ms, created_ms and not_before_ms.
local function near_from(record)
  local start_by = record.start_within_s and record.attempt == '0' and bounded(record.start_by_ms, 0, 1e14)
  if not start_by then return nil end
  local from = math.max(bounded(record.created_ms, 0, start_by, 0), bounded(record.not_before_ms, 0, start_by, 0))
  return start_by - math.max(NEAR_MS, (start_by - from) / 2), start_by
end

-- The time by which a job must begin, if it is near.
local function near_of(record)
  local from, start_by = near_from(record)
  return from and from <= NOW and start_by or nil
end

local function flow_of(name, model)
  return 'flow:' .. name .. ':' .. model
end

-- The jobs of a batch in a flow.
local function batch_flow_of(who)
  return flow_of(who.batch .. ':' .. who.flow, who.model)
end

-- Adds a job or a batch to a flow, which begins to wait if it was empty.
local function join(flow, model, member, score)
  local name = flow_of(flow, model)
  local is_empty = redis.call('EXISTS', P .. name) == 0
  index('ZADD', name, 'LT', score, member)
  if is_empty then activate(flow, model) end
end

-- Puts a job into its flow. `is_staged`: its batch is not complete, and no claim may find the job.
local function wait_in_flow(id, who, score, is_staged)
  if who.batch == '' then
    join(who.flow, who.model, id, score)
    return
  end
  index('ZADD', batch_flow_of(who), score, id)
  if is_staged then
    index('SADD', 'batch:' .. who.batch .. ':flows', who.flow .. ' ' .. who.model)
  else
    join(who.flow, who.model, who.batch, score)
  end
end

-- Queues a job. `who` is from `who_of`; with `near` (from `near_of`) the job goes first in its flow.
local function enqueue(id, who, score, is_staged)
  index('ZADD', 'pending:' .. who.model, score, id)
  if score < RANK then
    index('ZADD', 'retries:' .. who.model, score, id)
  else
    wait_in_flow(id, who, who.near or score, is_staged)
  end
end

-- Gives a batch the score of its first job; without a job, removes it from the flow.
local function refresh_batch(who)
  --[[LIBRARY]]
  local flow = flow_of(who.flow, who.model)
  local first = index('ZRANGE', batch_flow_of(who), 0, 0, 'WITHSCORES')
  if first[2] then
    index('ZADD', flow, 'XX', first[2], who.batch)
  else
    index('ZREM', flow, who.batch)
  end
end

-- Moves a queued job to the front of its flow, if its start_within_s is near.
local function hurry(id, record)
  local near = near_of(record)
  if not near or record.status ~= 'queued' then return end
  local who = who_of(record)
  if who.batch == '' then
    index('ZADD', flow_of(who.flow, who.model), 'XX', near, id)
  elseif index('ZADD', batch_flow_of(who), 'XX', 'CH', near, id) == 1 then
    refresh_batch(who)
  end
end

-- The owner and the encoded fairness key in a flow's name.
local function owner_and_key(flow)
  return string.match(flow, '^%l+:([^:]*):(.*)$')
end

local function held_key_of(owner, key)
  return 'held-key:' .. owner .. ':' .. key
end

-- Parks a flow that a limit keeps waiting: claims skip it. One of a fairness key at its limit returns when a job of that
-- key ends; any other one when one of the owner's jobs ends, or when the owner's rates allow a job (`until_ms`).
local function park(flow, model, here, scope, until_ms)
  --[[LIBRARY]]
  local class, owner, key = class_of_flow(flow), owner_and_key(flow)
  local queue = class .. ':' .. model
  index('ZREM', heads_of(class, model), flow)
  if scope == 'fairness_key' then
    index('SADD', 'held-keys', owner .. ':' .. key)
    index('SADD', held_key_of(owner, key), queue)
    return
  end
  index('SADD', 'held', owner)
  index('SADD', 'held:' .. owner, queue)
  index('ZADD', 'held:' .. owner .. ':' .. queue, here, flow)
  if until_ms then index('ZADD', 'rated', 'LT', until_ms, owner) end
end

-- Unparks the next flow of an owner in one queue (CLASS:MODEL). Flows whose jobs were all cancelled while they were parked
-- are dropped on the way, because none of their jobs will end and unpark another one.
local function unpark_next(owner, queue)
  local name, model = 'held:' .. owner .. ':' .. queue, string.match(queue, '^%l+:(.*)$')
  for _ = 1, DROPPED_AT_MOST do
    local next_flow = index('ZPOPMIN', name)
    if not next_flow[1] or model and show(next_flow[1], model) then break end
  end
  if redis.call('EXISTS', P .. name) == 0 then index('SREM', 'held:' .. owner, queue) end
  if redis.call('EXISTS', P .. 'held:' .. owner) == 0 then index('SREM', 'held', owner) end
end

local function unpark_flows(owner)
  --[[LIBRARY]]
  for _, queue in ipairs(index('SMEMBERS', 'held:' .. owner)) do unpark_next(owner, queue) end
  if redis.call('EXISTS', P .. 'held:' .. owner) == 0 then index('SREM', 'held', owner) end
end

-- Unparks one flow of an owner for each class and model: the next one. Others stay, since one job has ended.
local function unpark(owner)
  if index('SISMEMBER', 'held', owner) == 1 then unpark_flows(owner) end
end

-- Unparks the flows of a fairness key.
local function unpark_key(owner, key)
  --[[LIBRARY]]
  local name = held_key_of(owner, key)
  for _, queue in ipairs(index('SMEMBERS', name)) do
    local class, model = string.match(queue, '^(%l+):(.*)$')
    if class then show(class .. ':' .. owner .. ':' .. key, model) end
  end
  redis.call('DEL', P .. name)
  index('SREM', 'held-keys', owner .. ':' .. key)
end

-- A job of a flow no longer runs, so others of its owner may.
local function unpark_after(flow)
  local owner, key = owner_and_key(flow)
  unpark(owner)
  if key ~= '' and redis.call('EXISTS', P .. held_key_of(owner, key)) == 1 then unpark_key(owner, key) end
end

-- Unparks flows of owners whose rates allow jobs again.
local function unpark_rated(most)
  --[[LIBRARY]]
  for _, owner in ipairs(index('ZRANGEBYSCORE', 'rated', '-inf', NOW, 'LIMIT', 0, most)) do
    index('ZREM', 'rated', owner)
    unpark(owner)
  end
end

-- Removes a job from its flow. Answers whether others wait there.
local function leave_flow(id, who)
  local flow = flow_of(who.flow, who.model)
  if who.batch == '' then
    index('ZREM', flow, id)
  else
    index('ZREM', batch_flow_of(who), id)
    refresh_batch(who)
  end
  if redis.call('EXISTS', P .. flow) == 0 then
    index('ZREM', heads_of(class_of_flow(who.flow), who.model), who.flow)
    -- It may have been the only flow of its owner that is not parked.
    unpark(who.owner)
    return false
  end
  return true
end

-- Removes a job from the queue. Without who.flow, the flow keeps it until a claim meets it there. `is_new`: it never ran.
-- Answers whether other jobs of its flow may wait.
local function dequeue(id, who, is_new)
  if not unindex('pending:' .. who.model, id) then
    unindex('quarantine', id)
  end
  if (is_new or index('ZREM', 'retries:' .. who.model, id) == 0) and who.flow then
    return leave_flow(id, who)
  end
  return true
end

-- Removes a job with a missing or damaged record from the queue. The ledger has its owner, batch and model.
local function dequeue_booked(id)
  local _, who = booked(id)
  if not who then return end
  local record = fields_if_any(job_key(id), 'priority', 'fairness_key')
  record.owner = who.owner
  for _, class in ipairs({'interactive', 'batch'}) do
    record.priority = class
    who.flow = flow_name(record)
    dequeue(id, who)
  end
end
