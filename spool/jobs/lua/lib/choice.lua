-- Whose turn it is: the next flow of a claim, over all models with room.
local PARKED_AT_MOST = 100
local RETRIES_AT_MOST = 25

-- State of a claim: `is_cut` if a search stopped at its limit, so that the worker must call again.
local search = {}

-- Whether another job may begin on a share of a limit that batch jobs leave free; at least one may.
local function is_below_reserve(count, limit, reserve)
  return count < math.max(1, limit - math.ceil(limit * reserve - 1e-9))
end

-- The classes for which a model has room and is open: `any` for both, `interactive`, or false. `limit` is that of its running jobs (0:
-- none), `reserve` the part that batch jobs leave free.
local function room_of(model, limit, takes_batch, reserve)
  if upstream_block(model) then return false end
  if limit == 0 then return takes_batch and 'any' or 'interactive' end
  if index('ZCARD', 'running:' .. model) >= limit then return false end
  local is_for_all = takes_batch and is_below_reserve(index('SCARD', 'batch-running:' .. model), limit, reserve)
  return is_for_all and 'any' or 'interactive'
end

-- Whether its owner's limits keep a queued job waiting: nil, or what `who_of` answers for it.
local function is_held_by_limits(id, model)
  local record = has_owner_limits() and fields_if_any(job_key(id), 'owner', 'batch', 'priority', 'fairness_key') or {}
  if not record.owner then return nil end
  record.model = model
  local who = who_of(record)
  local _, key = owner_and_key(who.flow)
  return flow_block(record.owner, key, model) and who
end

-- The first job that has run before, of the models with room. A job whose owner is at a limit waits in its flow. The
-- score of a job that its upstream refused again is the time until which other jobs are tried before it; jobs with a
-- score above `most` are left out.
local function first_retry(models, most)
  for _ = 1, RETRIES_AT_MOST do
    local id, model, score
    for name, has_room in pairs(models) do
      local first = has_room and index('ZRANGE', 'retries:' .. name, 0, 0, 'WITHSCORES') or {}
      local its_score = tonumber(first[2])
      if its_score and its_score <= most and (not score or its_score < score) then
        id, model, score = first[1], name, its_score
      end
    end
    if not id then return nil end
    local who = is_held_by_limits(id, model)
    if not who then
      return id, 'pending:' .. model, {batch = '', model = model}
    end
    index('ZREM', 'retries:' .. model, id)
    wait_in_flow(id, who, score)
  end
  search.is_cut = true
end

-- The first job that its upstream refused again, of the closed models that may try one: no other job is left.
local function first_refused(models)
  local closed = {}
  for model, has_room in pairs(models) do
    closed[model] = may_be_closed(model) and has_room
  end
  return first_retry(closed, math.huge)
end

-- The first flow of a class in the model's queue whose owner's limits allow one more job, its virtual time, and its first
-- job or batch. Other flows are parked on the way.
local function first_flow(class, model)
  for _ = 1, PARKED_AT_MOST do
    local head = index('ZRANGE', heads_of(class, model), 0, 0, 'WITHSCORES')
    if not head[1] then return nil end
    local flow, owner, key = head[1], owner_and_key(head[1])
    local first = owner and index('ZRANGE', flow_of(flow, model), 0, 0)[1]
    if not first then
      index('ZREM', heads_of(class, model), flow)
    else
      -- In one call all that a claim needs of the ledger, if it is of this job.
      if not known_figures[ALL] then read_ledger(first, ALL .. ':' .. owner, ALL) end
      local scope, until_ms = flow_block(owner, key, model)
      if not scope then
        return {flow = flow, model = model, class = class, owner = owner, here = tonumber(head[2]), first = first}
      end
      park(flow, model, head[2], scope, scope == 'rate' and until_ms or nil)
      -- The owner itself may not be at a limit.
      if scope == 'fairness_key' and index('SISMEMBER', 'held', owner) == 1 then unpark_next(owner, class .. ':' .. model) end
    end
  end
  search.is_cut = true
end

-- Whether a flow is before another one at a different model: by the virtual time over all models, then by the order of
-- submit of their first jobs.
local function is_before(a, b)
  --[[LIBRARY]]
  for _, head in ipairs({a, b}) do
    head.all = head.all or virtual(index('HGET', 'virtual:' .. head.flow, '@'))
  end
  if a.all ~= b.all then return a.all < b.all end
  for _, head in ipairs({a, b}) do
    head.order = head.order or tonumber(index('ZRANGE', flow_of(head.flow, head.model), 0, 0, 'WITHSCORES')[2]) or 0
  end
  return a.order < b.order
end

-- The flow of a class that is next, over all models with room for the class.
local function next_of_class(class, models)
  local best
  for model, room in pairs(models) do
    local head = (room == 'any' or room == class) and first_flow(class, model)
    if head and (not best or is_before(head, best)) then best = head end
  end
  return best
end

-- Whether batch jobs wait, and whether one is due before interactive ones: they get one claim in `batch_every`.
local function batch_turn(models, batch_every)
  local places = {}
  for model in pairs(models) do places[#places + 1] = P .. heads_of('batch', model) end
  if #places == 0 or redis.call('EXISTS', unpack(places)) == 0 then return false, false end
  local passed = bounded(index('HGET', 'clock', 'passed'), 0, VIRTUAL_AT_MOST, 0)
  return true, batch_every > 0 and passed >= batch_every - 1
end
