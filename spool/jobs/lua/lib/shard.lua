-- The base of every script: the shard's prefix, Redis's clock, and reading fields. The prefix is KEYS[1]; all other keys
-- are built from it (spool.keys).
local P = KEYS[1]
local SCHEMA = tonumber('--[[SCHEMA]]')
local TOMBSTONE_MS = 86400000

-- Redis's clock, in whole milliseconds: the only clock for leases and deadlines.
local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)

local function job_key(id)
  return P .. 'job:' .. id
end

local function error_of(reply)
  return type(reply) == 'table' and reply.err or nil
end

-- Whether this error is independent of the data: Redis refuses such commands now, or refuses them to this user.
local function is_refusal(text)
  for _, word in ipairs({'NOPERM', 'ACL failure', 'user executing the script', 'OOM', 'READONLY', 'MISCONF', 'NOREPLICAS'}) do
    if string.find(text, word, 1, true) then return true end
  end
  return false
end

-- The named fields of a hash; a missing field is nil.
local function fields_of(key, ...)
  local found, record = redis.call('HMGET', key, ...), {}
  for i, name in ipairs({...}) do
    record[name] = found[i] or nil
  end
  return record
end

-- The named fields of a job's record.
local function fields(id, ...)
  return fields_of(job_key(id), ...)
end

-- A stored number within bounds; `otherwise` for any other value.
local function bounded(value, low, high, otherwise)
  local number = tonumber(value or nil)
  return number and number >= low and number <= high and number or otherwise
end
