#!lua
-- Accepts a job: idempotency, queue limit, record, input, indexes; all or nothing. It refuses when Redis is out
-- of memory (no allow-oom).
-- ARGV: id, owner, model, rank, ttl_s, timeout_ms, start_ms, max_queued, idempotency ('' or OWNER:DIGEST),
-- body digest, batch ('' or id), batch index, input, watch_ms (0, or how long it may be without a reader); then names and values of further fields.
-- Answers {outcome, id, queue position or false, record…}: created, replayed (the job of an earlier submit), conflict, full,
-- no_batch, set_aside (that job's record is damaged).
local id, owner, model = ARGV[1], ARGV[2], ARGV[3]
local idempotency, digest, batch = ARGV[9], ARGV[10], ARGV[11]
local key = job_key(id)

local function answer(outcome, job)
  local out = redis.call('HGETALL', job_key(job))
  local position = redis.pcall('ZRANK', P .. 'pending:' .. (redis.call('HGET', job_key(job), 'model') or ''), job)
  table.insert(out, 1, outcome)
  table.insert(out, 2, job)
  table.insert(out, 3, type(position) == 'number' and position)
  return out
end

-- The answer that an earlier submit under the same key leads to; nil where its job is no longer there.
local function replay()
  local before = index('GET', 'idempotency:' .. idempotency)
  local job, said = string.match(before or '', '^(%S+) (.*)$')
  local verdict, fault
  if job then verdict, fault = judge(job) end
  if not job or verdict == 'missing' then
    return nil
  elseif said ~= digest then
    return {'conflict', job}
  elseif verdict == 'damaged' and end_damaged(job, fault, owner) == 'set_aside' then
    return {'set_aside', job}
  end
  return answer(job == id and 'created' or 'replayed', job)
end

local replayed = idempotency ~= '' and replay()
if replayed then
  return replayed
end
-- The same submit again, after its answer was lost.
if redis.call('EXISTS', key) == 1 then
  return answer('created', id)
end
if batch ~= '' and redis.call('TYPE', P .. 'batch:' .. batch).ok ~= 'hash' then
  return {'no_batch', id}
end
local queued = 0
for _, name in ipairs(index('SMEMBERS', 'models')) do
  queued = queued + index('ZCARD', 'pending:' .. name)
end
if queued >= tonumber(ARGV[8]) then
  return {'full', id}
end

-- A number that the order goes by. Where it is none, the next is beyond any that there can have been.
local function next_seq()
  local seq = redis.pcall('INCR', P .. 'seq')
  if not error_of(seq) then return seq end
  if is_refusal(error_of(seq)) then error(error_of(seq)) end
  redis.call('SET', P .. 'seq', NOW)
  return NOW
end

local seq = next_seq()
local deadline = NOW + ARGV[6]
local start_by = math.min(deadline, NOW + ARGV[7])
redis.call('HSET', key, 'schema', SCHEMA, 'id', id, 'owner', owner, 'model', model, 'status', 'queued', 'seq', seq,
  'created_ms', NOW, 'deadline_ms', deadline, 'start_by_ms', start_by, 'ttl_s', ARGV[5], 'attempt', 0,
  'losses', 0, 'last', 0, 'server', run_id(), 'idempotency', idempotency, unpack(ARGV, 15))
redis.call('SET', key .. ':input', ARGV[13])
index('SADD', 'models', model)
index('ZADD', 'pending:' .. model, ARGV[4] * 1e15 + seq, id)
index('ZADD', 'deadlines', start_by, id)
index('ZADD', 'owner:' .. owner, NOW * 1000 + seq % 1000, id)
local chat = redis.call('HGET', key, 'chat')
if chat then
  redis.call('SET', P .. 'chat:' .. owner .. ':' .. chat, id)
end
if ARGV[14] ~= '0' then
  index('ZADD', 'watched', NOW + ARGV[14], id)
end
if idempotency ~= '' then
  redis.call('SET', P .. 'idempotency:' .. idempotency, id .. ' ' .. digest)
end
if batch ~= '' then
  redis.call('HSET', key, 'batch', batch, 'batch_index', ARGV[12])
  redis.pcall('HINCRBY', P .. 'batch:' .. batch, 'queued', 1)
  index('RPUSH', 'batch:' .. batch .. ':jobs', id)
  redis.call('PEXPIRE', P .. 'batch:' .. batch .. ':jobs', redis.call('PTTL', P .. 'batch:' .. batch))
end
return answer('created', id)
