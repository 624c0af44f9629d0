-- Takes over jobs that versions before flows by tokens have queued: heads:MODEL → flow:OWNER:MODEL → flow:BATCH:MODEL,
-- each scored by its first job; and parked, parked:OWNER. Such processes may still run beside this one.

-- Moves one job, unless it has been claimed or has ended.
local function take_over_job(id, score)
  local record = fields_if_any(job_key(id), 'status', 'owner', 'model', 'batch', 'priority', 'fairness_key')
  if record.status == 'queued' and record.owner and record.model then
    enqueue(id, who_of(record), tonumber(score))
  end
end

-- Moves at most `most` members of one flow, and of the batches in it. Answers the number.
local function take_over_flow(name, model, most)
  local members = index('ZRANGE', name, 0, most - 1, 'WITHSCORES')
  local moved = 0
  for i = 1, #members, 2 do
    local member, is_done = members[i], true
    if string.sub(member, 1, 1) == 'b' then
      local below = flow_of(member, model)
      moved = moved + take_over_flow(below, model, most - moved)
      is_done = redis.call('EXISTS', P .. below) == 0
    else
      take_over_job(member, members[i + 1])
    end
    if is_done then index('ZREM', name, member) end
    moved = moved + 1
    if moved >= most then break end
  end
  return moved
end

-- Moves at most `most` jobs of a model. Answers the number.
local function take_over_queue(model, most)
  --[[LIBRARY]]
  local heads, moved = 'heads:' .. model, 0
  while moved < most do
    local owner = index('ZRANGE', heads, 0, 0)[1]
    if not owner then break end
    local flow = flow_of(owner, model)
    moved = moved + take_over_flow(flow, model, most - moved) + 1
    if redis.call('EXISTS', P .. flow) == 0 then index('ZREM', heads, owner) end
  end
  return moved
end

-- Returns owners that an older process has parked to the heads that it uses.
local function take_over_parked(most)
  --[[LIBRARY]]
  for _, owner in ipairs(index('SRANDMEMBER', 'parked', most)) do
    for _, model in ipairs(index('SMEMBERS', 'parked:' .. owner)) do
      if redis.call('EXISTS', P .. flow_of(owner, model)) == 1 then index('ZADD', 'heads:' .. model, 'NX', 0, owner) end
    end
    redis.call('DEL', P .. 'parked:' .. owner)
    index('SREM', 'parked', owner)
  end
end
