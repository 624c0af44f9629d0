#!lua
-- Opens a batch; does nothing if it is already open. For a staged batch, reserves the room for all of its jobs, and
-- hides them from claims until the batch is sealed.
-- ARGV: id, owner, total, ttl_s, timeout_ms, staged (1 or 0), idempotency ('' or OWNER:DIGEST), body digest;
--   then for a staged batch max_queued, the owner's own limits of queued jobs and of bytes, share, watermark (as for
--   submit), bytes of all inputs;
--   then for each kind of job the model, output_at_most and the number of jobs.
-- The batch gets an expiry at once, after that of its last job, so that a batch that is never filled does not stay.
-- Answers {outcome, id}: opened, replayed (the batch of an earlier call), staging (that batch is not complete),
-- conflict, full, owner_full, owner_bytes, no_memory.
local id, owner, total, is_staged = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[6] == '1'
local idempotency, digest = ARGV[7], ARGV[8]
local key = P .. 'batch:' .. id

-- The answer if another call has used the same idempotency key; nil if none has.
local function earlier()
  local before = idempotency ~= '' and index('GET', 'idempotency:' .. idempotency)
  if not before then return nil end
  local other, said = string.match(before, '^(%S+) (.*)$')
  if not other then return nil end
  if said ~= digest or string.sub(other, 1, 1) ~= 'b' then
    return {'conflict', other}
  elseif other == id then
    return {'opened', id}
  end
  return {staging_of(other) and 'staging' or 'replayed', other}
end

local function reserve()
  local bytes, expected = total * JOB_BYTES + tonumber(ARGV[14]), 0
  for i = 15, #ARGV, 3 do
    expected = expected + ARGV[i + 2] * expected_output(ARGV[i], tonumber(ARGV[i + 1]))
  end
  local refusal = refusal_of(owner, {queued = total, bytes = bytes, expected = expected}, {
    queued = tonumber(ARGV[9]), owner_queued = tonumber(ARGV[10]), owner_bytes = tonumber(ARGV[11]),
    share = tonumber(ARGV[12]), watermark = tonumber(ARGV[13]),
  })
  if not refusal then
    book(id, {owner = owner, batch = '', model = '-'}, NOTHING, {total, 0, bytes, expected, 0})
    index('ZADD', 'staging', NOW + STAGING_MS, id)
  end
  return refusal
end

local before = earlier()
if before then
  return before
end
if redis.call('EXISTS', key) == 1 then
  return {'opened', id}
end
local refusal = is_staged and reserve()
if refusal then
  return {refusal, id}
end
local ttl_ms = ARGV[5] + ARGV[4] * 1000 + TOMBSTONE_MS
redis.call('HSET', key, 'id', id, 'owner', owner, 'total', total, 'ttl_s', ARGV[4], 'created_ms', NOW)
if is_staged then
  redis.call('HSET', key, 'staging', 'open', 'idempotency', idempotency)
end
redis.call('PEXPIRE', key, ttl_ms)
if idempotency ~= '' then
  redis.call('SET', P .. 'idempotency:' .. idempotency, id .. ' ' .. digest, 'PX', ttl_ms)
end
return {'opened', id}
