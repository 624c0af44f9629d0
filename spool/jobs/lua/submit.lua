#!lua
-- Accepts a job, all or nothing: checks idempotency, the limits of the queue and of its owner, and memory; writes
-- record, input and indexes. It fails when Redis is out of memory (no allow-oom).
-- Arguments:
--   idempotency     '' or OWNER:DIGEST; with digest, the digest of the body
--   repeat_key      '' or OWNER:DIGEST; with joins, the jobs that have it and are the answer: none, running, recent
--   batch           '' or id; with line, of its lines that wait: '' or LANE:POSITION
--   watch_ms        how long it may be without a reader; 0: any time
--   owner_queued, owner_bytes  the owner's own limits of queued jobs and of bytes; 0: none
--   share           fraction of the memory that is an owner's limit of bytes; 0: none
--   watermark       0: memory is not checked
--   output_at_most  bytes; 0: unknown
--   budgets         tokens a day and a month, of the owner and of the credential (0: none), or '' without any
--   block_count     the number of blocks at the beginning of its conversation
--   rest            the digest and the messages of each block ('' if the block should be stored already), then names
--                   and values of further fields
-- Answers one of:
--   {created, id, queue position, created_ms, deadline_ms}
--   {again, id, queue position or false, the record's values}: this same submit, whose answer was lost
--   {replayed, id, queue position or false, the record's values}: the job of an earlier submit, which this repeats
--   {outcome, id}: conflict, full, owner_full, owner_bytes, no_memory, no_batch, set_aside (the earlier job's record is
--   damaged), conversation_full
--   {quota_exceeded, id, NOW, day or month, owner or credential, budget, tokens used}
--   {busy, id, job}: another job of its conversation has not ended, and on_busy is reject
--   {outcome, id} of a line: stopped, fed, early (refusal_of_line)
--   {blocks, id, N}: the messages of block N are needed, and perhaps those of later blocks
--[[SELDOM batch_flow_of budget_refusal fields_if_any is_open_batch is_refusal judge may_be_fed_again missing_blocks near_from note_change
  note_fed refusal_of_line reset_ledger store_blocks]]
--[[ARGUMENTS id owner model rank ttl_s timeout_ms start_ms max_queued:number idempotency digest repeat_key joins batch batch_index line input
  watch_ms owner_queued:number owner_bytes:number share:number watermark:number output_at_most:number budgets block_count
  rest...]]
local NOT_BEFORE_AT_MOST_MS = 8 * 86400000
local TURNS_AT_MOST = 100
local REPEATED_FOR_MS = 900000
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

-- The answer if an earlier submit has the same repeat key, and its job runs or has ended a short time ago; else nil.
local function answer_of_repeat()
  --[[LIBRARY]]
  local job = index('GET', 'repeat:' .. repeat_key)
  if not job then return nil end
  local verdict, _, record = judge(job)
  if verdict ~= 'sound' or record.owner ~= owner then return nil end
  if record.cancel_ms or record.status == 'cancelled' then return nil end
  local ended_ms = tonumber(record.ended_ms)
  if ended_ms and (joins == 'running' or NOW - ended_ms > REPEATED_FOR_MS) then return nil end
  return answer('replayed', job)
end

local replayed = idempotency ~= '' and replay()
if replayed then
  return replayed
end
-- The same submit again, after its answer was lost. Its job comes first: an equal request may have the repeat key by now.
local there = redis.call('EXISTS', key, key .. ':log', key .. ':text')
if there > 0 then
  if redis.call('EXISTS', key) == 1 then return answer('again', id) end
  -- The job's record is lost, and what is left would come before the new log.
  redis.call('DEL', key .. ':log', key .. ':text')
end
local repeated = joins ~= 'none' and answer_of_repeat()
if repeated then
  return repeated
end
local staging = staging_of(batch)
local lane, line_at = string.match(line, '^(%d+):(%d+)$')
local refused_line = lane and refusal_of_line(batch, lane, tonumber(line_at))
if refused_line then
  return {refused_line, id}
end
if staging == 'dropped' or batch ~= '' and redis.call('TYPE', P .. 'batch:' .. batch).ok ~= 'hash' then
  return {'no_batch', id}
end
local fields_at = rest_at + 2 * block_count
local path = fields_at > rest_at and {unpack(ARGV, rest_at, fields_at - 1)}
local missing, shared = nil, 0
if path then
  missing, shared = missing_blocks(owner, path)
  if not missing then
    return {'blocks', id, shared}
  end
end
-- The further fields, by name.
local given = {}
for i = fields_at, #ARGV, 2 do
  given[ARGV[i]] = ARGV[i + 1]
end
local who = who_of({
  owner = owner, batch = batch, model = model, priority = given.priority, fairness_key = given.fairness_key,
})
local is_held = given.not_before_ms or given.conversation
local bytes, expected = JOB_BYTES + #input, expected_output(model, output_at_most)
-- A job of a batch is not checked if its room is already reserved.
local is_reserved = staging or lane
local exceeded = not is_reserved and budgets ~= '' and budget_refusal(id, owner, given.credential or '', budgets)
if exceeded then
  return exceeded
end
local refusal = not is_reserved and refusal_of(owner, {queued = 1, bytes = bytes + shared, expected = expected}, {
  queued = max_queued, owner_queued = owner_queued, owner_bytes = owner_bytes, share = share, watermark = watermark,
})
if refusal then
  return {refusal, id}
end

-- The jobs of its conversation that have not ended.
local function jobs_before()
  --[[LIBRARY]]
  local turns, found = turns_of(owner, given.conversation), {}
  for _, job in ipairs(index('ZRANGE', turns, 0, -1)) do
    if waiting_record(job) then found[#found + 1] = job else index('ZREM', turns, job) end
  end
  return found
end

local before = given.conversation and jobs_before() or {}
if given.on_busy == 'reject' and before[1] then
  return {'busy', id, before[1]}
elseif #before >= TURNS_AT_MOST then
  return {'conversation_full', id}
end

-- The next sequence number, which orders jobs. If the stored value is not a number, continues above every earlier one.
local function next_seq()
  local seq = redis.pcall('INCR', P .. 'seq')
  if not error_of(seq) then return seq end
  if is_refusal(error_of(seq)) then error(error_of(seq)) end
  redis.call('SET', P .. 'seq', NOW)
  return NOW
end

-- Reduces the reservation of its batch by this job.
local function use_reservation()
  --[[LIBRARY]]
  local reserved, whose = booked(batch)
  if whose then
    local left = {math.max(0, reserved[1] - 1), 0, math.max(0, reserved[3] - bytes - shared), math.max(0, reserved[4] - expected), 0}
    book(batch, whose, reserved, left)
  end
  if staging then index('ZADD', 'staging', 'XX', NOW + STAGING_MS, batch) end
end

local function list_in_batch()
  redis.call('HSET', key, 'batch', batch, 'batch_index', batch_index)
  if lane then
    redis.call('HSET', key, 'lane', lane)
    -- Redis may have lost this job together with what readers have seen of it: its claim decides (has_lost_history).
    if may_be_fed_again(batch, lane, tonumber(line_at)) then redis.call('HSET', key, 'server', FED_AGAIN) end
    note_fed(id, batch, lane, tonumber(line_at), batch_index)
    return
  end
  redis.pcall('HINCRBY', P .. 'batch:' .. batch, 'queued', 1)
  index('RPUSH', 'batch:' .. batch .. ':jobs', id)
  redis.call('PEXPIRE', P .. 'batch:' .. batch .. ':jobs', redis.call('PTTL', P .. 'batch:' .. batch))
end

-- Queues or holds the job.
local function admit_new(seq, start_by)
  --[[LIBRARY]]
  admit(id, {
    owner = owner, model = model, batch = batch, priority = given.priority, attempt = '0', seq = seq,
    not_before_ms = given.not_before_ms, conversation = given.conversation, fairness_key = given.fairness_key,
    start_within_s = given.start_within_s, start_by_ms = start_by, created_ms = NOW,
  })
end

-- Cancels the earlier jobs of its conversation, the last one first, so that none of them gets the turn.
local function interrupt()
  --[[LIBRARY]]
  for i = #before, 1, -1 do
    local ok, problem = pcall(request_cancel, before[i], fields(before[i], 'status'))
    if not ok then end_after(before[i], problem) end
  end
end

local seq = next_seq()
-- Its times count from its not_before.
local from = math.max(NOW, bounded(given.not_before_ms, 0, NOW + NOT_BEFORE_AT_MOST_MS, 0))
local deadline = from + timeout_ms
local within_ms = given.start_within_s and math.floor(given.start_within_s * 1000 + 0.5) or math.huge
local start_by = math.min(deadline, from + start_ms, from + within_ms)
local near = given.start_within_s and near_from({
  attempt = '0', start_within_s = given.start_within_s, start_by_ms = start_by, created_ms = from,
})
if near and near <= NOW then who.near = start_by end
redis.call('HSET', key, 'schema', lane and is_open_batch(batch) and OPEN_LINE or (lane or given.endpoint) and LINE or is_held and 3 or path and 2 or 1, 'id', id, 'owner', owner, 'model', model, 'status', 'queued', 'seq', seq,
  'created_ms', NOW, 'deadline_ms', deadline, 'start_by_ms', start_by, 'ttl_s', ttl_s, 'attempt', 0,
  'losses', 0, 'last', 0, 'server', RUN_ID, 'idempotency', idempotency, 'output_at_most', output_at_most,
  unpack(ARGV, fields_at))
redis.call('SET', key .. ':input', input)
if path then
  store_blocks(owner, path, missing, id, deadline + ttl_s * 1000 + TOMBSTONE_MS)
end
if batch ~= '' then
  list_in_batch()
end
index('SADD', 'models', model)
if is_held then
  admit_new(seq, start_by)
else
  enqueue(id, who, rank * 1e15 + seq, staging)
end
book(id, who, NOTHING, {1, 0, bytes, expected, 0})
if is_reserved then
  use_reservation()
end
index('ZADD', 'deadlines', near and near > NOW and near or start_by, id)
index('ZADD', 'owner:' .. owner, NOW * 1000 + seq % 1000, id)
if given.chat then
  redis.call('SET', P .. 'chat:' .. owner .. ':' .. given.chat, id)
end
if watch_ms ~= '0' then
  index('ZADD', 'reader_leases', NOW + watch_ms, id)
end
if idempotency ~= '' then
  redis.call('SET', P .. 'idempotency:' .. idempotency, id .. ' ' .. digest)
end
if repeat_key ~= '' then
  redis.call('SET', P .. 'repeat:' .. repeat_key, id, 'PX', deadline - NOW + REPEATED_FOR_MS)
end
if has_event_readers(owner) then
  note_change(id, owner)
end
if given.on_busy == 'interrupt' then
  interrupt()
end
return {'created', id, position_of(id, model), NOW, deadline}
