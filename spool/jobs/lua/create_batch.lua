#!lua
-- Accepts a batch, all or nothing: checks idempotency, limits, budgets and memory, reserves room for its jobs, and writes
-- its record. Its lines wait in blocks (spool.batches.blocks), of which the first ones may be staged already. Nothing of a
-- batch exists before this call but staged blocks, which expire. Does nothing if the batch exists.
-- Arguments:
--   total        its lines, bad ones included
--   window_ms    the time within which it must complete
--   is_staged    1: blocks were staged, and must still be there
--   lanes        the number of lanes
--   input_bytes  bytes of all blocks
--   repeat_key   '' or OWNER:DIGEST; with joins, what may be the answer: none, or recent: the batch of an equal request
--   is_open      1: lines are added to it until it is sealed
--   failure      '' or JSON: the error of a batch that has failed at its validation; it has no lines
--   kind_count   the number of kinds of jobs; field_count the number of further fields of the record
--   rest         for each kind the model, output_at_most and the number of jobs; names and values of the fields; names and
--                bytes of the blocks
--   The others are as for submit.
-- Answers {outcome, id}: created, replayed (the batch of an earlier call), conflict, gone (staged blocks have expired),
-- full, owner_full, owner_bytes, no_memory; many_open (its owner has too many open batches); quota_exceeded as for submit.
--[[ARGUMENTS id owner total:number ttl_s window_ms:number is_staged:flag lanes idempotency digest max_queued:number
  owner_queued:number owner_bytes:number share:number watermark:number budgets credential input_bytes:number failure
  repeat_key joins is_open:flag kind_count:number field_count:number rest...]]
local OPEN_AT_MOST = 1000
local REPEATED_FOR_MS = 900000
local key, name = P .. 'batch:' .. id, 'batch:' .. id .. ':lines'
local fields_at = rest_at + 3 * kind_count
local blocks_at = fields_at + 2 * field_count

local function reserve()
  local expected = sums_of_kinds(rest_at, fields_at - 1)
  return reserve_for_batch(id, owner, {queued = total, bytes = input_bytes, expected = expected}, {
    queued = max_queued, owner_queued = owner_queued, owner_bytes = owner_bytes, share = share, watermark = watermark,
  })
end

-- Whether the owner has as many open batches as it may. Batches that were lost without their end do not count.
local function has_many_open()
  local name = 'open-batches:' .. owner
  if index('SCARD', name) < OPEN_AT_MOST then return false end
  for _, batch in ipairs(index('SMEMBERS', name)) do
    if not is_open_batch(batch) then index('SREM', name, batch) end
  end
  return index('SCARD', name) >= OPEN_AT_MOST
end

local earlier = earlier_batch(id, idempotency, digest)
if earlier then
  return earlier
end
if redis.call('EXISTS', key) == 1 then
  return {'created', id}
end
-- The batch of an equal request, if it was created a short time ago.
local function repeated_batch()
  local other = index('GET', 'repeat:' .. repeat_key)
  if not other or string.sub(other, 1, 1) ~= 'b' then return nil end
  local its = fields_if_any(P .. 'batch:' .. other, 'owner', 'created_ms')
  return its.owner == owner and NOW - bounded(its.created_ms, 0, NOW, 0) <= REPEATED_FOR_MS and other or nil
end

local repeated = joins ~= 'none' and repeated_batch()
if repeated then
  return {'replayed', repeated}
end
if is_staged and redis.call('EXISTS', P .. name) == 0 then
  return {'gone', id}
end
if is_open and has_many_open() then
  return {'many_open', id}
end
local exceeded = failure == '' and budgets ~= '' and budget_refusal(id, owner, credential, budgets)
if exceeded then
  return exceeded
end
local refusal = failure == '' and reserve()
if refusal then
  return {refusal, id}
end
redis.call('HSET', key, 'id', id, 'owner', owner, 'total', total, 'ttl_s', ttl_s, 'created_ms', NOW, 'idempotency', idempotency,
  'status', is_open and 'open' or 'running', 'state', 'in_progress', 'lanes', lanes, 'last', 0, 'ended', 0, 'run_id', RUN_ID, 'queued', total, 'expires_ms', NOW + window_ms,
  unpack(ARGV, fields_at, blocks_at - 1))
for i = blocks_at, #ARGV, 2 do
  redis.call('HSET', P .. name, ARGV[i], ARGV[i + 1])
end
redis.call('PERSIST', P .. name)
list_batch(owner, id)
if idempotency ~= '' then
  redis.call('SET', P .. 'idempotency:' .. idempotency, id .. ' ' .. digest)
end
if repeat_key ~= '' then
  redis.call('SET', P .. 'repeat:' .. repeat_key, id, 'PX', REPEATED_FOR_MS)
end
note_batch_change(id, 'created')
if failure ~= '' then
  redis.call('DEL', P .. name)
  fail_batch(id, failure)
else
  index('ZADD', is_open and 'feeding-open' or 'feeding', 0, id)
  if is_open then index('SADD', 'open-batches:' .. owner, id) end
  -- Keepers of older versions keep its reservation only while it is in this index.
  index('ZADD', 'staging', NOW + window_ms + TOMBSTONE_MS, id)
end
return {'created', id}
