#!lua
-- Accepts a job, all or nothing: checks idempotency, the limits of the queue and of its owner, and memory; writes
-- record, input and indexes. It fails when Redis is out of memory (no allow-oom).
-- Arguments:
--   idempotency     '' or OWNER:DIGEST; with digest, the digest of the body
--   batch           '' or id
--   watch_ms        how long it may be without a reader; 0: any time
--   owner_queued, owner_bytes  the owner's own limits of queued jobs and of bytes; 0: none
--   share           fraction of the memory that is an owner's limit of bytes; 0: none
--   watermark       0: memory is not checked
--   output_at_most  bytes; 0: unknown
--   block_count     the number of blocks at the beginning of its conversation
--   rest            the digest and the messages of each block ('' if the block should be stored already), then names
--                   and values of further fields
-- Answers one of:
--   {created, id, queue position, created_ms, deadline_ms}
--   {again, id, queue position or false, the record's values}: this same submit, whose answer was lost
--   {replayed, id, queue position or false, the record's values}: the job of an earlier submit
--   {outcome, id}: conflict, full, owner_full, owner_bytes, no_memory, no_batch, set_aside (the earlier job's record is
--   damaged)
--   {blocks, id, N}: the messages of block N are needed, and perhaps those of later blocks
--[[ARGUMENTS id owner model rank ttl_s timeout_ms start_ms max_queued:number idempotency digest batch batch_index input
  watch_ms owner_queued:number owner_bytes:number share:number watermark:number output_at_most:number block_count
  rest...]]
local key = job_key(id)

local function position_of(job, its_model)
  local position = redis.pcall('ZRANK', P .. 'pending:' .. its_model, job)
  return type(position) == 'number' and position
end

-- The answer for a job that an earlier submit has written.
local function answer(outcome, job)
  local position = position_of(job, redis.call('HGET', job_key(job), 'model') or '')
  return {outcome, job, position, redis.call('HMGET', job_key(job), --[[JOB_FIELDS]])}
end

-- The answer if an earlier submit has used the same idempotency key; nil if its job no longer exists.
local function replay()
  --[[LIBRARY]]
  local before = index('GET', 'idempotency:' .. idempotency)
  local job, said = string.match(before or '', '^(%S+) (.*)$')
  local verdict, fault
  if job and string.sub(job, 1, 1) == 'b' then return {'conflict', job} end
  if job then verdict, fault = judge(job) end
  if not job or verdict == 'missing' then
    return nil
  elseif said ~= digest then
    return {'conflict', job}
  elseif verdict == 'damaged' and end_damaged(job, fault, owner) == 'set_aside' then
    return {'set_aside', job}
  end
  return answer(job == id and 'again' or 'replayed', job)
end

local replayed = idempotency ~= '' and replay()
if replayed then
  return replayed
end
-- The same submit again, after its answer was lost.
if redis.call('EXISTS', key) == 1 then
  return answer('again', id)
end
local staging = staging_of(batch)
if staging == 'dropped' or batch ~= '' and redis.call('TYPE', P .. 'batch:' .. batch).ok ~= 'hash' then
  return {'no_batch', id}
end
local who = {owner = owner, batch = batch, model = model}
local fields_at = rest_at + 2 * block_count
local path = fields_at > rest_at and {unpack(ARGV, rest_at, fields_at - 1)}
local missing, shared = nil, 0
if path then
  missing, shared = missing_blocks(owner, path)
  if not missing then
    return {'blocks', id, shared}
  end
end
local bytes, expected = JOB_BYTES + #input, expected_output(model, output_at_most)
-- A job of a staged batch is not checked, because its room is already reserved.
local refusal = not staging and refusal_of(owner, {queued = 1, bytes = bytes + shared, expected = expected}, {
  queued = max_queued, owner_queued = owner_queued, owner_bytes = owner_bytes, share = share, watermark = watermark,
})
if refusal then
  return {refusal, id}
end

-- The next sequence number, which orders jobs. If the stored value is not a number, continues above every earlier one.
local function next_seq()
  local seq = redis.pcall('INCR', P .. 'seq')
  if not error_of(seq) then return seq end
  if is_refusal(error_of(seq)) then error(error_of(seq)) end
  redis.call('SET', P .. 'seq', NOW)
  return NOW
end

-- Reduces the reservation of a staged batch by this job.
local function use_reservation()
  --[[LIBRARY]]
  local reserved, whose = booked(batch)
  if whose then
    local left = {math.max(0, reserved[1] - 1), 0, math.max(0, reserved[3] - bytes - shared), math.max(0, reserved[4] - expected), 0}
    book(batch, whose, reserved, left)
  end
  index('ZADD', 'staging', 'XX', NOW + STAGING_MS, batch)
end

local function list_in_batch()
  redis.call('HSET', key, 'batch', batch, 'batch_index', batch_index)
  redis.pcall('HINCRBY', P .. 'batch:' .. batch, 'queued', 1)
  index('RPUSH', 'batch:' .. batch .. ':jobs', id)
  redis.call('PEXPIRE', P .. 'batch:' .. batch .. ':jobs', redis.call('PTTL', P .. 'batch:' .. batch))
end

local seq = next_seq()
local deadline = NOW + timeout_ms
local start_by = math.min(deadline, NOW + start_ms)
redis.call('HSET', key, 'schema', path and 2 or 1, 'id', id, 'owner', owner, 'model', model, 'status', 'queued', 'seq', seq,
  'created_ms', NOW, 'deadline_ms', deadline, 'start_by_ms', start_by, 'ttl_s', ttl_s, 'attempt', 0,
  'losses', 0, 'last', 0, 'server', run_id(), 'idempotency', idempotency, 'output_at_most', output_at_most,
  unpack(ARGV, fields_at))
redis.call('SET', key .. ':input', input)
if path then
  store_blocks(owner, path, missing, id, deadline + ttl_s * 1000 + TOMBSTONE_MS)
end
index('SADD', 'models', model)
enqueue(id, who, rank * 1e15 + seq, staging)
book(id, who, NOTHING, {1, 0, bytes, expected, 0})
if staging then
  use_reservation()
end
index('ZADD', 'deadlines', start_by, id)
index('ZADD', 'owner:' .. owner, NOW * 1000 + seq % 1000, id)
for i = fields_at, #ARGV, 2 do
  if ARGV[i] == 'chat' then
    redis.call('SET', P .. 'chat:' .. owner .. ':' .. ARGV[i + 1], id)
  end
end
if watch_ms ~= '0' then
  index('ZADD', 'reader_leases', NOW + watch_ms, id)
end
if idempotency ~= '' then
  redis.call('SET', P .. 'idempotency:' .. idempotency, id .. ' ' .. digest)
end
if batch ~= '' then
  list_in_batch()
end
return {'created', id, position_of(id, model), NOW, deadline}
