-- Commands on indexes: keys that the keeper can rebuild from the jobs' records.
local DAMAGE_KEPT_MS = 7 * 86400000
local NOTICES_AT_MOST = 200

-- Adds a line for the log of the process that keeps the shard.
local function notice(text)
  local key = P .. 'notices'
  if error_of(redis.pcall('RPUSH', key, text)) then
    redis.call('DEL', key)
    redis.call('RPUSH', key, text)
  end
  redis.call('LTRIM', key, -NOTICES_AT_MOST, -1)
end

-- Moves a key of the wrong type out of an index's place. The keeper rebuilds the index from the jobs' records.
local function displace(name)
  --[[LIBRARY]]
  local key = P .. 'displaced:' .. name
  local found = redis.call('TYPE', P .. name).ok
  redis.call('RENAME', P .. name, key)
  redis.call('PEXPIRE', key, DAMAGE_KEPT_MS)
  redis.call('SET', P .. 'reindex', 0)
  notice(name .. ' was a ' .. found .. ' that Spool did not write; it is now displaced:' .. name .. ' for 7 days')
end

-- Runs a command on an index. A key of the wrong type in its place is displaced first.
local function index(command, name, ...)
  local reply = redis.pcall(command, P .. name, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not string.find(reply.err, 'WRONGTYPE', 1, true) then error(reply.err) end
  displace(name)
  return redis.call(command, P .. name, ...)
end

-- The named fields of an index that is a hash.
local function index_fields(name, ...)
  return named(index('HMGET', name, ...), ...)
end

-- Removes a member from an index, or from the part that a process of an older version left for this one. Answers
-- whether it was there.
local function unindex(name, member)
  local removed = index('ZREM', name, member)
  for schema = 2, removed == 0 and SCHEMA or 0 do
    removed = removed + index('ZREM', 'newer:' .. schema .. ':' .. name, member)
  end
  return removed > 0
end
