#!lua
-- Opens a batch; does nothing if it is already open. For a staged batch, reserves the room for all of its jobs, and
-- hides them from claims until the batch is sealed.
-- Arguments: as for submit, and
--   is_staged    1 or 0; what follows digest is needed for a staged batch only
--   input_bytes  bytes of all inputs
--   kinds        for each kind of job the model, output_at_most and the number of jobs
-- The batch gets an expiry at once, after that of its last job, so that a batch that is never filled does not stay.
-- Answers {outcome, id}: opened, replayed (the batch of an earlier call), staging (that batch is not complete),
-- conflict, full, owner_full, owner_bytes, no_memory; quota_exceeded as for submit.
--[[ARGUMENTS id owner total:number ttl_s timeout_ms is_staged:flag idempotency digest max_queued:number
  owner_queued:number owner_bytes:number share:number watermark:number budgets input_bytes:number
  credential kinds...]]
local key = P .. 'batch:' .. id

local function reserve()
  local expected = sums_of_kinds(kinds_at, #ARGV)
  local wants = {queued = total, bytes = total * JOB_BYTES + input_bytes, expected = expected}
  local refusal = reserve_for_batch(id, owner, wants, {
    queued = max_queued, owner_queued = owner_queued, owner_bytes = owner_bytes, share = share, watermark = watermark,
  })
  if not refusal then index('ZADD', 'staging', NOW + STAGING_MS, id) end
  return refusal
end

local before = earlier_batch(id, idempotency, digest)
if before then
  return before
end
if redis.call('EXISTS', key) == 1 then
  return {'opened', id}
end
local exceeded = is_staged and budgets ~= '' and budget_refusal(id, owner, credential, budgets)
if exceeded then
  return exceeded
end
local refusal = is_staged and reserve()
if refusal then
  return {refusal, id}
end
local ttl_ms = timeout_ms + ttl_s * 1000 + TOMBSTONE_MS
redis.call('HSET', key, 'id', id, 'owner', owner, 'total', total, 'ttl_s', ttl_s, 'created_ms', NOW)
if not is_staged then
  list_batch(owner, id)
else
  redis.call('HSET', key, 'staging', 'open', 'idempotency', idempotency)
end
redis.call('PEXPIRE', key, ttl_ms)
if idempotency ~= '' then
  redis.call('SET', P .. 'idempotency:' .. idempotency, id .. ' ' .. digest, 'PX', ttl_ms)
end
return {'opened', id}
