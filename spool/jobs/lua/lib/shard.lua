-- The base of every script: the shard's prefix, Redis's clock, and reading fields. The prefix is KEYS[1]; all other keys
-- are built from it (spool.keys).
local P = KEYS[1]
local SCHEMA = tonumber('--[[SCHEMA]]')
-- The schema of a line of a batch, and of a job of another endpoint than a chat (spool.jobs.job).
local LINE = tonumber('--[[LINE]]')
local OPEN_LINE = tonumber('--[[OPEN_LINE]]')
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

-- A whole hash as a record, and the error if there is one. Redis itself makes a table of RESP3's answer, at a quarter of
-- what it costs Lua.
local function hash_at(key)
  redis.setresp(3)
  local reply = redis.pcall('HGETALL', key)
  redis.setresp(2)
  return reply.map, reply.err
end

-- Values of fields as a record: by name, a missing one nil.
local function named(values, ...)
  local record, names = {}, {...}
  for i = 1, #names do
    record[names[i]] = values[i] or nil
  end
  return record
end

-- The named fields of a hash; none, and true, if a key of another type is in its place.
local function fields_if_any(key, ...)
  local values = redis.pcall('HMGET', key, ...)
  if error_of(values) then return {}, true end
  return named(values, ...)
end

-- The named fields of a job's record.
local function fields(id, ...)
  return named(redis.call('HMGET', job_key(id), ...), ...)
end

-- A stored number within bounds; `otherwise` for any other value.
local function bounded(value, low, high, otherwise)
  local number = tonumber(value or nil)
  return number and number >= low and number <= high and number or otherwise
end
