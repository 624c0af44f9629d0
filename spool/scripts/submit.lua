#!lua
-- Accepts a job: idempotency, queue limit, record, input, indexes; all or nothing. It refuses when Redis is out
-- of memory (no allow-oom).
-- ARGV: id, owner, model, rank, ttl_s, timeout_ms, start_ms, max_queued, idempotency ('' or OWNER:DIGEST),
-- body digest, batch ('' or id), batch index, input, watch_ms (0, or how long it may be without a reader); then names and values of further fields.
-- Answers {outcome, id, queue position or false, record…}: created, replayed (the job of an earlier submit), conflict, full, no_batch.
local id, owner, model = ARGV[1], ARGV[2], ARGV[3]
local idempotency, digest, batch = ARGV[9], ARGV[10], ARGV[11]
local key = job_key(id)

local function answer(outcome, job)
  local out = redis.call('HGETALL', job_key(job))
  table.insert(out, 1, outcome)
  table.insert(out, 2, job)
  table.insert(out, 3, redis.call('ZRANK', P .. 'pending:' .. redis.call('HGET', job_key(job), 'model'), job))
  return out
end

if idempotency ~= '' then
  local before = redis.call('GET', P .. 'idempotency:' .. idempotency)
  if before then
    local space = string.find(before, ' ', 1, true)
    local job = string.sub(before, 1, space - 1)
    if string.sub(before, space + 1) ~= digest then
      return {'conflict', job}
    end
    return answer(job == id and 'created' or 'replayed', job)
  end
end
-- The same submit again, after its answer was lost.
if redis.call('EXISTS', key) == 1 then
  return answer('created', id)
end
if batch ~= '' and redis.call('EXISTS', P .. 'batch:' .. batch) == 0 then
  return {'no_batch', id}
end
local queued = 0
for _, name in ipairs(redis.call('SMEMBERS', P .. 'models')) do
  queued = queued + redis.call('ZCARD', P .. 'pending:' .. name)
end
if queued >= tonumber(ARGV[8]) then
  return {'full', id}
end

local seq = redis.call('INCR', P .. 'seq')
local deadline = NOW + ARGV[6]
local start_by = math.min(deadline, NOW + ARGV[7])
redis.call('HSET', key, 'schema', 1, 'id', id, 'owner', owner, 'model', model, 'status', 'queued', 'seq', seq,
  'created_ms', NOW, 'deadline_ms', deadline, 'start_by_ms', start_by, 'ttl_s', ARGV[5], 'attempt', 0,
  'losses', 0, 'last', 0, 'server', run_id(), 'idempotency', idempotency, unpack(ARGV, 15))
redis.call('SET', key .. ':input', ARGV[13])
redis.call('SADD', P .. 'models', model)
redis.call('ZADD', P .. 'pending:' .. model, ARGV[4] * 1e15 + seq, id)
redis.call('ZADD', P .. 'deadlines', start_by, id)
redis.call('ZADD', P .. 'owner:' .. owner, NOW * 1000 + seq % 1000, id)
local chat = redis.call('HGET', key, 'chat')
if chat then
  redis.call('SET', P .. 'chat:' .. owner .. ':' .. chat, id)
end
if ARGV[14] ~= '0' then
  redis.call('ZADD', P .. 'watched', NOW + ARGV[14], id)
end
if idempotency ~= '' then
  redis.call('SET', P .. 'idempotency:' .. idempotency, id .. ' ' .. digest)
end
if batch ~= '' then
  redis.call('HSET', key, 'batch', batch, 'batch_index', ARGV[12])
  redis.call('HINCRBY', P .. 'batch:' .. batch, 'queued', 1)
  redis.call('RPUSH', P .. 'batch:' .. batch .. ':jobs', id)
  redis.call('PEXPIRE', P .. 'batch:' .. batch .. ':jobs', redis.call('PTTL', P .. 'batch:' .. batch))
end
return answer('created', id)
