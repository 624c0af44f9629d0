-- The queue of a model, in three levels: heads:MODEL (owners) → flow:OWNER:MODEL (jobs, and batches) → flow:BATCH:MODEL
-- (jobs of a batch). So the cost of a claim does not depend on the number of waiting jobs of an owner at its limit.
-- Each score is the score of the first job below. pending:MODEL has all jobs, for counts and positions.
local function flow_of(name, model)
  return 'flow:' .. name .. ':' .. model
end

-- Gives `member` of an index the score of the first job in its flow. Without `is_new`, an absent member is not added:
-- the owner is at its limit, or the batch is not complete.
local function refresh(name, member, flow, is_new)
  local head = index('ZRANGE', flow, 0, 0, 'WITHSCORES')
  if not head[2] then
    index('ZREM', name, member)
  elseif is_new then
    index('ZADD', name, head[2], member)
  else
    index('ZADD', name, 'XX', head[2], member)
  end
end

-- Queues a job. `who` has owner, batch ('' for none) and model. `is_staged`: its batch is not complete, and no claim
-- may find the job.
local function enqueue(id, who, score, is_staged)
  local flow = flow_of(who.owner, who.model)
  index('ZADD', 'pending:' .. who.model, score, id)
  if who.batch == '' then
    index('ZADD', flow, score, id)
  else
    index('ZADD', flow_of(who.batch, who.model), score, id)
    if is_staged then return end
    index('ZADD', flow, 'LT', score, who.batch)
  end
  index('ZADD', 'heads:' .. who.model, 'LT', score, who.owner)
end

local function dequeue(id, who)
  local flow = flow_of(who.owner, who.model)
  if not unindex('pending:' .. who.model, id) then
    unindex('quarantine', id)
  end
  if who.batch == '' then
    index('ZREM', flow, id)
  else
    local below = flow_of(who.batch, who.model)
    index('ZREM', below, id)
    refresh(flow, who.batch, below)
  end
  refresh('heads:' .. who.model, who.owner, flow)
end

-- Removes a job with a missing or damaged record from the queue. The ledger has its owner, batch and model.
local function dequeue_booked(id)
  local _, who = booked(id)
  if who then
    dequeue(id, who)
  end
end

-- Parks an owner at its limit: claims skip its jobs of the model until one of its jobs ends.
local function park(owner, model)
  index('ZREM', 'heads:' .. model, owner)
  index('SADD', 'parked', owner)
  index('SADD', 'parked:' .. owner, model)
end

local function unpark(owner)
  if index('SREM', 'parked', owner) == 0 then return end
  local models = index('SMEMBERS', 'parked:' .. owner)
  redis.call('DEL', P .. 'parked:' .. owner)
  for _, model in ipairs(models) do
    refresh('heads:' .. model, owner, flow_of(owner, model), true)
  end
end
