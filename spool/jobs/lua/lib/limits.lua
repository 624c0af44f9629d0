-- Limits that make jobs wait. A model is closed while its upstream refuses it: no job of it begins until `until_ms`, and
-- then a few at a time, until enough of them were accepted.
-- closed-models has the models for which the next key may exist. closed:MODEL has until_ms, since_ms, reason, status,
-- kind, window (jobs that may be tried at a time) and epoch (which closing it is). probes:MODEL has the jobs that are
-- tried now (spool.keys).
local WIDE_OPEN = 32
local PATIENCE_MS = 5000
local CLOSED_AT_MOST_MS = 600000

-- Cache of closed-models as a set.
local closed_names

local function may_be_closed(model)
  if not closed_names then
    closed_names = {}
    for _, name in ipairs(index('SMEMBERS', 'closed-models')) do
      closed_names[name] = true
    end
  end
  return closed_names[model]
end

-- Why the upstream keeps a model closed: nil while it is open, or 'upstream' and until when (nil: other jobs are tried).
local function upstream_block(model)
  if not may_be_closed(model) then return nil end
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

-- Records that a job is tried, if its model is closed.
local function note_probe(id, model)
  if may_be_closed(model) and redis.call('EXISTS', P .. 'closed:' .. model) == 1 then
    index('ZADD', 'probes:' .. model, NOW + PATIENCE_MS, id)
    redis.call('PEXPIRE', P .. 'probes:' .. model, PATIENCE_MS)
  end
end

-- The closing during which a running job is tried; '' if its model was open when it began.
local function probe_of(id, model)
  return may_be_closed(model) and index('ZSCORE', 'probes:' .. model, id) and index('HGET', 'closed:' .. model, 'epoch') or ''
end
