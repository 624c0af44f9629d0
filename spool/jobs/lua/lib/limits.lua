-- Limits that make jobs wait. A model is closed while its upstream refuses it: no job of it begins until `until_ms`, and
-- then a few at a time, until enough of them were accepted.
-- closed-models has the models for which the next key may exist. closed:MODEL has until_ms, since_ms, reason, status,
-- kind, window (jobs that may be tried at a time) and epoch (which closing it is). probes:MODEL has the jobs that are
-- tried now (spool.keys).
local WIDE_OPEN = 32
local PATIENCE_MS = 5000
local CLOSED_AT_MOST_MS = 600000

-- Cache of closed-models as a set.
local closed_names = false

local function may_be_closed(model)
  if not closed_names then
    closed_names = {}
    for _, name in ipairs(index('SMEMBERS', 'closed-models')) do
      closed_names[name] = true
    end
  end
  return closed_names[model]
end

local function block_of_closed(model)
  --[[LIBRARY]]
  local name, probes = 'closed:' .. model, 'probes:' .. model
  local until_ms = bounded(index('HGET', name, 'until_ms'), 0, NOW + CLOSED_AT_MOST_MS)
  if not until_ms then
    index('SREM', 'closed-models', model)
    return nil
  end
  if until_ms > NOW then return 'upstream', until_ms end
  index('ZREMRANGEBYSCORE', probes, '-inf', NOW)
  if index('ZCARD', probes) >= bounded(index('HGET', name, 'window'), 1, WIDE_OPEN, 1) then return 'upstream' end
end

-- Why the upstream keeps a model closed: nil while it is open, or 'upstream' and until when (nil: other jobs are tried).
local function upstream_block(model)
  if may_be_closed(model) then return block_of_closed(model) end
end

-- Records that a job is tried, if its model is closed.
local function note_probe(id, model)
  --[[LIBRARY]]
  if redis.call('EXISTS', P .. 'closed:' .. model) == 1 then
    index('ZADD', 'probes:' .. model, NOW + PATIENCE_MS, id)
    redis.call('PEXPIRE', P .. 'probes:' .. model, PATIENCE_MS)
  end
end

-- The closing during which a running job is tried; '' if its model was open when it began.
local function probe_of(id, model)
  return may_be_closed(model) and index('ZSCORE', 'probes:' .. model, id) and index('HGET', 'closed:' .. model, 'epoch') or ''
end

-- Token buckets of a model's requests and tokens a minute: bucket:rpm:MODEL and bucket:tpm:MODEL have left, at_ms, most
-- (when it is full) and a_minute (what flows in). A job may begin while a whole one is left; its estimate may make `left`
-- negative. A bucket is small and flows in slower than the limit, so that no minute has more than the limit.
local BUCKET_PART = 1 / 20

-- The limits of a claim's models, by the names of the buckets.
local rates = {}

-- What a bucket for a limit holds when full, and what flows in.
local function shape_of(kind, limit)
  local most = math.max(1, limit * BUCKET_PART)
  -- The last job of a minute may take one request, or an estimate of as many tokens as the bucket holds.
  return most, kind == 'rpm' and limit - most + 1 or math.max(limit / 2, limit - 2 * most)
end

-- What is left in a bucket now; all that it holds, if it is not there.
local function left_in(name, most, a_minute)
  local bucket = fields_if_any(P .. name, 'left', 'at_ms')
  local left, at_ms = bounded(bucket.left, -1e12, 1e12), bounded(bucket.at_ms, 0, NOW)
  if not left or not at_ms then return most end
  return math.min(most, left + (NOW - at_ms) * a_minute / 60000)
end

local function fill(name, left, most, a_minute)
  left = math.min(left, most)
  if left == most then
    redis.call('DEL', P .. name)
    return
  end
  index('HSET', name, 'left', string.format('%.3f', left), 'at_ms', NOW, 'most', string.format('%.3f', most),
    'a_minute', string.format('%.3f', a_minute))
  redis.call('PEXPIRE', P .. name, math.ceil((most - left) / a_minute * 60000))
end

-- Until when the bucket for a limit is empty; nil if a job may begin.
local function empty_until_of(name, kind, limit)
  local most, a_minute = shape_of(kind, limit)
  local left = left_in(name, most, a_minute)
  return left < 1 and NOW + math.ceil((1 - left) / a_minute * 60000) or nil
end

-- Takes so much out of the bucket for a limit, or gives it back.
local function take_from(name, kind, limit, taken)
  local most, a_minute = shape_of(kind, limit)
  fill(name, left_in(name, most, a_minute) - taken, most, a_minute)
end

-- Why a model's rates keep its jobs waiting: nil, or 'rate_limit' and until when. `rpm` and `tpm` are its limits of
-- requests and tokens a minute; 0: none.
local function rate_block(model, rpm, tpm)
  --[[LIBRARY]]
  local until_ms
  for kind, limit in pairs({rpm = rpm, tpm = tpm}) do
    if limit > 0 then
      local name = 'bucket:' .. kind .. ':' .. model
      rates[name] = {kind = kind, limit = limit}
      until_ms = math.max(until_ms or 0, empty_until_of(name, kind, limit) or 0)
    end
  end
  if until_ms and until_ms > 0 then return 'rate_limit', until_ms end
end

-- Takes an attempt's request and its estimated tokens out of the buckets of a model with limits.
local function reserve_rates(id, model)
  --[[LIBRARY]]
  local tokens = 'bucket:tpm:' .. model
  local estimate = rates[tokens] and bounded(redis.call('HGET', job_key(id), 'charge'), 0, 1e9, 0)
  for name, taken in pairs({['bucket:rpm:' .. model] = 1, [tokens] = estimate or 0}) do
    local set = rates[name]
    if set then take_from(name, set.kind, set.limit, taken) end
  end
  if estimate then
    local most, a_minute = shape_of('tpm', rates[tokens].limit)
    redis.call('HSET', job_key(id), 'reserved', string.format('%.0f %.3f %.3f', estimate, most, a_minute))
  end
end

-- Replaces the tokens that an attempt has reserved by those that it used: none if it was lost. `reserved` is the field of
-- its job's record.
local function settle_rates(id, model, reserved, used)
  local tokens, most, a_minute = string.match(reserved, '^(%d+) ([%d.]+) ([%d.]+)$')
  redis.call('HDEL', job_key(id), 'reserved')
  most, a_minute = bounded(most, 1, 1e12), bounded(a_minute, 0.1, 1e12)
  if not most or not a_minute then return end
  local name = 'bucket:tpm:' .. model
  fill(name, left_in(name, most, a_minute) + bounded(tokens, 0, 1e9, 0) - used, most, a_minute)
end
