-- Limits of owners: by the webs' settings (`limits`), and by the owners file, which the webs publish in owner-limits
-- (spool.owners.limits). owner-running:OWNER:MODEL and key-running:OWNER:KEY have the running jobs of these scopes; those
-- of an owner are counted in the ledger.
-- Cache of the limits, as this call has read them.
local owner_settings = {}
local known_limits = {}

-- The limit of running jobs of one owner by the settings: a number, or a share of the slots that workers report.
local function running_by_settings(set)
  local most, share = bounded(set.owner_running, 1, 1e9), bounded(set.owner_share, 0, 1, 0)
  if most then return most end
  if share <= 0 or share >= 1 then return nil end
  local slots = 0
  for _, capacity in ipairs(index('HVALS', 'capacity')) do
    slots = slots + bounded(capacity, 0, 1e6, 0)
  end
  return slots > 0 and math.max(1, math.floor(share * slots)) or nil
end

-- has_file (whether there is an owners file), and base, the limits without it.
local function read_owner_settings()
  if not owner_settings.base then
    local set = index_fields('limits', 'owner_running', 'owner_share', 'owners')
    owner_settings.base = {max_running = running_by_settings(set)}
    owner_settings.has_file = (set.owners or '') ~= ''
  end
  return owner_settings
end

local function read_limits(owner, base)
  --[[LIBRARY]]
  local stored = index('HMGET', 'owner-limits', owner, '')
  local ok, limits = pcall(cjson.decode, stored[1] or stored[2] or '{}')
  limits = ok and type(limits) == 'table' and limits or {}
  limits.max_running = limits.max_running or base.max_running
  return limits
end

-- The limits of an owner: max_running, rpm, tpm, fairness_key_max_running, weight, and models (by name, each with
-- max_running, rpm and tpm). A missing one, or 0, is none.
local function limits_of(owner)
  local set = read_owner_settings()
  if not set.has_file then return set.base end
  if not known_limits[owner] then
    known_limits[owner] = read_limits(owner, set.base)
  end
  return known_limits[owner]
end

-- Whether any owner may have a limit.
local function has_owner_limits()
  local set = read_owner_settings()
  return set.has_file or set.base.max_running ~= nil
end

local function limits_at_model(limits, model)
  local found = type(limits.models) == 'table' and limits.models[model]
  return type(found) == 'table' and found or {}
end

local function owner_running_of(owner, model)
  return 'owner-running:' .. owner .. ':' .. model
end

local function key_running_of(owner, key)
  return 'key-running:' .. owner .. ':' .. key
end

-- Which limit of running jobs keeps jobs of an owner waiting: nil; or owner, owner_model or fairness_key, the running
-- jobs, and the limit. Without a model, only the owner's own limit counts. `key` is the encoded fairness key.
local function running_block(owner, key, model)
  local limits = limits_of(owner)
  local most = bounded(limits.max_running, 1, 1e9)
  local running = most and sum_of(owner)[2]
  if most and running >= most then return 'owner', running, most end
  if not model then return nil end
  most = bounded(limits_at_model(limits, model).max_running, 1, 1e9)
  running = most and index('SCARD', owner_running_of(owner, model))
  if most and running >= most then return 'owner_model', running, most end
  most = key ~= '' and bounded(limits.fairness_key_max_running, 1, 1e9)
  running = most and index('SCARD', key_running_of(owner, key))
  if most and running >= most then return 'fairness_key', running, most end
end

-- The token buckets of an owner with limits of rates: kind, name and limit of each. Without a model, only its own.
local function buckets_of(owner, model)
  local limits, found = limits_of(owner), {}
  for scope, set in pairs({[owner] = limits, [owner .. ':' .. (model or '')] = model and limits_at_model(limits, model) or {}}) do
    for _, kind in ipairs({'rpm', 'tpm'}) do
      local limit = bounded(set[kind], 1, 1e9)
      if limit then found[#found + 1] = {kind = kind, name = 'owner-bucket:' .. kind .. ':' .. scope, limit = limit} end
    end
  end
  return found
end

-- Until when an owner's rates keep its jobs waiting; nil if they do not.
local function owner_rated_until(owner, model)
  --[[LIBRARY]]
  local until_ms
  for _, bucket in ipairs(buckets_of(owner, model)) do
    local empty_until = empty_until_of(bucket.name, bucket.kind, bucket.limit)
    until_ms = empty_until and math.max(until_ms or 0, empty_until) or until_ms
  end
  return until_ms
end

-- Why the limits of an owner keep a flow waiting: nil; a scope of `running_block`, running jobs and limit; or 'rate' and
-- until when.
local function flow_block(owner, key, model)
  if not has_owner_limits() then return nil end
  local scope, running, most = running_block(owner, key, model)
  if scope then return scope, running, most end
  if not read_owner_settings().has_file then return nil end
  local until_ms = owner_rated_until(owner, model)
  if until_ms then return 'rate', until_ms end
end

-- Takes an attempt's request and its estimated tokens out of its owner's buckets, if there is an owners file.
local function reserve_owner_rates(id, owner, model)
  --[[LIBRARY]]
  local estimate
  for _, bucket in ipairs(buckets_of(owner, model)) do
    local taken = 1
    if bucket.kind == 'tpm' then
      estimate = estimate or bounded(redis.call('HGET', job_key(id), 'charge'), 0, 1e9, 0)
      taken = estimate
    end
    take_from(bucket.name, bucket.kind, bucket.limit, taken)
  end
  if estimate then redis.call('HSET', job_key(id), 'owner_reserved', estimate) end
end

-- Replaces the tokens that an attempt has reserved of its owner's by those that it used: none if it was lost. By the
-- limits as they are now: a bucket that they no longer have expires.
local function settle_owner_rates(id, owner, model, reserved, used)
  redis.call('HDEL', job_key(id), 'owner_reserved')
  for _, bucket in ipairs(buckets_of(owner, model)) do
    if bucket.kind == 'tpm' then take_from(bucket.name, bucket.kind, bucket.limit, used - bounded(reserved, 0, 1e9, 0)) end
  end
end

-- Counts a job's attempt in the scopes of its owner, or ends that.
local function count_running(id, owner, key, model, runs)
  local command = runs and 'SADD' or 'SREM'
  index(command, owner_running_of(owner, model), id)
  if key ~= '' then index(command, key_running_of(owner, key), id) end
end
