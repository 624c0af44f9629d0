#!lua flags=allow-oom
-- Takes the next job for a worker: retries first, then interactive before batch, first come first served, within
-- each model's limit of running jobs. The fence is the worker's own, so that asking again after a lost answer is
-- harmless.
-- ARGV: fence, lease_ms, worker, what (any; retries: only those, for a worker whose slots are taken; apart: only jobs
-- that need a process of their own); then each model that the worker serves and its limit (0: none).
-- Answers {id, text to continue from, input, NOW, the attempt's first entry, record…} or nothing.
local fence, lease_ms, worker, what = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local RANK = 1e15
local SETTLE_MS = 1000

local function answer(id)
  local key = job_key(id)
  local out = redis.call('HGETALL', key)
  local record = redis.call('HMGET', key, 'mode', 'last')
  local opening = redis.call('XRANGE', key .. ':log', record[2] .. '-0', record[2] .. '-0')
  table.insert(out, 1, id)
  table.insert(out, 2, record[1] == 'continued' and redis.call('GET', key .. ':text') or '')
  table.insert(out, 3, redis.call('GET', key .. ':input') or '')
  table.insert(out, 4, NOW)
  table.insert(out, 5, opening[1] and opening[1][2][2] or '')
  return out
end

-- Each model that is served and has room.
local function models_with_room()
  local models = {}
  for i = 5, #ARGV, 2 do
    local model, limit = ARGV[i], tonumber(ARGV[i + 1])
    models[model] = limit == 0 or redis.call('ZCARD', P .. 'running:' .. model) < limit
  end
  return models
end

-- The first queued job over these models; nil when there is none.
local function first_pending(models)
  local best_id, best_score
  for model, has_room in pairs(models) do
    local head = has_room and redis.call('ZRANGE', P .. 'pending:' .. model, 0, 0, 'WITHSCORES') or {}
    if head[1] and (not best_score or tonumber(head[2]) < best_score) then
      best_id, best_score = head[1], tonumber(head[2])
    end
  end
  if what == 'retries' and best_score and best_score >= RANK then
    return nil
  end
  return best_id
end

-- The first of those that run apart; a hundred are looked at, so that models without room hold up no others for long.
local function first_apart(models)
  for _, id in ipairs(redis.call('ZRANGE', P .. 'apart', 0, 99)) do
    local model = redis.pcall('HGET', job_key(id), 'model')
    if not model or models[model] or type(model) == 'table' then
      return id
    end
  end
end

-- Begins the attempt: what its first entry is depends on what the one before has said.
local function begin(id, record)
  local key = job_key(id)
  local attempt, first = tonumber(record[2]) + 1, tonumber(record[3]) + 1
  local mode, rest = 'started', ',"attempt":' .. attempt .. ',"model":' .. json(record[8])
  local torn = is_torn(id)
  if torn then
    mode, first = 'restarted', id_after_jump(id, first - 1)
    rest = ',"attempt":' .. attempt .. ',"reason":"redis_lost_history"'
  elseif attempt > 1 then
    local plain = record[5] == '1' and record[6] ~= '0'
    mode = plain and redis.call('STRLEN', key .. ':text') > 0 and 'continued' or 'restarted'
    rest = ',"attempt":' .. attempt .. ',"reason":' .. json(record[7] or 'worker_lost')
  end
  begin_attempt(id, {
    attempt = attempt, mode = mode, first = first, fence = fence, worker = worker, lease_ms = lease_ms,
  })
  push(id, mode, rest, first)
end

local before = redis.call('GET', P .. 'claim:' .. fence)
if before then
  return redis.call('HGET', job_key(before), 'fence') == fence and answer(before) or false
end
meet_server()
if redis.call('EXISTS', P .. 'unheard') == 1 and NOW - redis.call('HGET', P .. 'server', 'since_ms') < SETTLE_MS then
  -- Redis has just come back: whose claims it lost is known in a moment.
  return false
end
local models = models_with_room()
-- Bounded: entries that are stale or past their deadline are cleared away on the way, a hundred at a time.
for _ = 1, 100 do
  local id = (what == 'apart' and first_apart or first_pending)(models)
  if not id then
    return false
  end
  local record = redis.pcall('HMGET', job_key(id), 'status', 'attempt', 'last', 'deadline_ms', 'continuable', 'plain',
    'again', 'model')
  -- An error: something that is no record stands in its place.
  if record.err or record[1] ~= 'queued' then
    redis.call('ZREM', P .. 'apart', id)
    for model in pairs(models) do
      redis.call('ZREM', P .. 'pending:' .. model, id)
    end
  elseif tonumber(record[4]) <= NOW then
    fail(id, 'deadline_exceeded', 'the job did not end before its deadline', true)
  else
    begin(id, record)
    return answer(id)
  end
end
return false
