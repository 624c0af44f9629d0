#!lua flags=allow-oom
-- Finds the batches of which lines should become jobs, or that must be ended. One process at a time gets an answer.
-- Arguments: hold_ms is the time for which no other process gets one, most the number of batches, keeps 1 to go on after
-- an earlier call.
-- Answers false for other processes; else {batches that wait or run, for each that needs something: id, '' or why it was
-- stopped (cancelled, expired), then for each of its lanes with lines left: lane, lines that are jobs already, how many
-- more may be}.
--[[ARGUMENTS feeder_name hold_ms:number most:number keeps:flag]]
local WINDOW_AT_LEAST = 64
local WINDOW_PER_SLOT = 4

-- Feeders of versions without open batches hold the first lock, and leave open batches alone.
local LOCKS = {feeding = 'feeder:lock', ['feeding-open'] = 'open-feeder:lock'}

local function is_mine(name)
  local lock = P .. LOCKS[name]
  if redis.call('SET', lock, feeder_name, 'NX', 'PX', hold_ms) then return true end
  if not keeps or redis.pcall('GET', lock) ~= feeder_name then return false end
  redis.call('SET', lock, feeder_name, 'PX', hold_ms)
  return true
end

-- Removes a batch that does not run from the index. Without a usable record its keys have no expiry yet.
local function forget(id)
  --[[LIBRARY]]
  index('ZREM', 'feeding', id)
  index('ZREM', 'feeding-open', id)
  index('ZREM', 'staging', id)
  for _, name in ipairs({'', ':lines', ':pieces', ':late', ':log'}) do
    local key = P .. 'batch:' .. id .. name
    if redis.call('PTTL', key) == -1 then redis.call('PEXPIRE', key, DAMAGE_KEPT_MS) end
  end
  unbook(id)
end

local function window_of_lanes()
  local slots = 0
  for _, count in ipairs(index('HVALS', 'capacity')) do slots = slots + bounded(count, 0, 1e6, 0) end
  return math.min(WINDOW_AT_MOST, math.max(WINDOW_AT_LEAST, WINDOW_PER_SLOT * slots))
end

-- The batch's record and its lanes that need something; nil if it does not run.
local function needs_of(id, window)
  local key = P .. 'batch:' .. id
  local its = fields_if_any(key, 'status', 'stop', 'paused', 'expires_ms', 'lanes', 'owner', 'run_id', 'history_lost')
  if not is_begun(its.status) then
    forget(id)
    return nil
  end
  if its.stop and not STOPS[its.stop] then
    its.stop = 'cancelled'
    redis.call('HSET', key, 'stop', 'cancelled')
  end
  if not its.stop and bounded(its.expires_ms, 0, 1e14, NOW) <= NOW then
    its.stop = 'expired'
    redis.call('HSET', key, 'stop', 'expired')
  end
  book_batch(id, its.owner)
  return its, lanes_of(id, its, window)
end

local mine, active = {}, 0
for _, name in ipairs({'feeding', 'feeding-open'}) do
  if is_mine(name) then
    mine[#mine + 1] = name
    active = active + index('ZCARD', name)
  end
end
if not mine[1] then
  return false
end
local found, window = {}, window_of_lanes()
for _, name in ipairs(mine) do
  for _, id in ipairs(index('ZRANGE', name, 0, most - 1)) do
    index('ZADD', name, NOW, id)
    local ok, its, needs = pcall(needs_of, id, window)
    if not ok then
      local text = type(its) == 'table' and its.err or tostring(its)
      if is_refusal(text) then error(text) end
      notice('batch ' .. id .. ' cannot be fed: ' .. text)
    elseif its and (its.stop or needs[1]) then
      found[#found + 1] = {id, its.stop or '', needs}
    end
  end
end
return {active, found}
