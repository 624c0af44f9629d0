#!lua flags=allow-oom
-- Takes the next job for a worker: retries first, then interactive before batch, first come first served, within
-- each model's limit of running jobs. The fence is the worker's own, so that asking again after a lost answer is
-- harmless.
-- ARGV: fence, lease_ms, worker; then each model that the worker serves and its limit (0: none).
-- Answers {id, mode (started, restarted, continued), text to continue from, input, NOW, record…} or nothing.
local fence, lease_ms, worker = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local function answer(id)
  local key = job_key(id)
  local out = redis.call('HGETALL', key)
  local mode = redis.call('HGET', key, 'mode')
  table.insert(out, 1, id)
  table.insert(out, 2, mode)
  table.insert(out, 3, mode == 'continued' and redis.call('GET', key .. ':text') or '')
  table.insert(out, 4, redis.call('GET', key .. ':input') or '')
  table.insert(out, 5, NOW)
  return out
end

-- The first queued job over all models that still have room; nil when there is none.
local function first_pending()
  local best_id, best_score, best_model
  for i = 4, #ARGV, 2 do
    local model, limit = ARGV[i], tonumber(ARGV[i + 1])
    if limit == 0 or redis.call('ZCARD', P .. 'running:' .. model) < limit then
      local head = redis.call('ZRANGE', P .. 'pending:' .. model, 0, 0, 'WITHSCORES')
      if head[1] and (not best_score or tonumber(head[2]) < best_score) then
        best_id, best_score, best_model = head[1], tonumber(head[2]), model
      end
    end
  end
  return best_id, best_model
end

-- Begins the attempt: what its first entry is depends on what the one before has said.
local function begin(id, model, record)
  local key = job_key(id)
  local attempt, first = tonumber(record[2]) + 1, tonumber(record[3]) + 1
  local mode, rest = 'started', ',"attempt":' .. attempt .. ',"model":' .. json(model)
  if attempt > 1 then
    local plain = record[5] == '1' and record[6] ~= '0'
    mode = plain and redis.call('STRLEN', key .. ':text') > 0 and 'continued' or 'restarted'
    rest = ',"attempt":' .. attempt .. ',"reason":' .. json(redis.call('HGET', key, 'again') or 'worker_lost')
  end
  if mode ~= 'continued' then
    redis.call('DEL', key .. ':text')
    redis.call('HDEL', key, 'plain')
  end
  local attempts = record[7] and cjson.decode(record[7]) or {}
  attempts[#attempts + 1] = {attempt = attempt, first = first, at_ms = NOW}
  move(id, 'running')
  redis.call('HSETNX', key, 'started_ms', NOW)
  redis.call('HSET', key, 'attempt', attempt, 'attempts', json(attempts), 'fence', fence, 'worker', worker,
    'leased_until_ms', NOW + lease_ms, 'mode', mode)
  if mode ~= 'continued' then
    redis.call('HSET', key, 'attempt_first', first)
  end
  redis.call('ZREM', P .. 'pending:' .. model, id)
  redis.call('ZADD', P .. 'running:' .. model, NOW + lease_ms, id)
  redis.call('ZADD', P .. 'deadlines', record[4], id)
  redis.call('SET', P .. 'claim:' .. fence, id, 'PX', 60000)
  push(id, mode, rest)
end

local before = redis.call('GET', P .. 'claim:' .. fence)
if before then
  return redis.call('HGET', job_key(before), 'fence') == fence and answer(before) or false
end
-- Bounded: entries that are stale or past their deadline are cleared away on the way, a hundred at a time.
for _ = 1, 100 do
  local id, model = first_pending()
  if not id then
    return false
  end
  local record = redis.call('HMGET', job_key(id), 'status', 'attempt', 'last', 'deadline_ms', 'continuable', 'plain',
    'attempts', 'start_by_ms')
  if record[1] ~= 'queued' then
    redis.call('ZREM', P .. 'pending:' .. model, id)
  elseif tonumber(record[4]) <= NOW then
    fail(id, 'deadline_exceeded', 'the job did not end before its deadline', true)
  else
    begin(id, model, record)
    return answer(id)
  end
end
return false
