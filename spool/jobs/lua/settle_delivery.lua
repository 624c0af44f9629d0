#!lua flags=allow-oom
-- Records the result of an attempt to deliver.
-- outcome: delivered, failed (it is tried again), or over (it is not). After a failure the whole lane pauses, so that
-- deliveries stay in order and a receiver that is down is asked rarely. A delivery that has failed ASIDE_AFTER times in an
-- answered attempt waits on its own instead, so that it does not hold up the others.
-- Arguments: jitter is a factor of the pause, at_least_ms the pause that the receiver asked for, tried_for_ms the time after
-- which a delivery is given up.
-- Answers false for an attempt that is over already; else the state of the delivery, and for how long its lane has failed
-- (ms; 0: it does not).
--[[ARGUMENTS id attempt:number outcome status error answered:flag jitter:number at_least_ms:number tried_for_ms:number]]
local FIRST_PAUSE_MS = 5000
local LAST_PAUSE_MS = 6 * 3600000
local ASIDE_AFTER = 3
local LANE_STATE_MS = 4 * 86400000
local key = P .. 'delivery:' .. id
local record = fields_if_any(key, 'owner', 'lane', 'state', 'attempts', 'at_us', 'tried_from_ms', 'failures')
if record.state ~= 'pending' or tonumber(record.attempts) ~= attempt then return false end
local owner, lane = record.owner, record.lane
local state_name = 'lane-state:' .. lane

local function pause(failures)
  return math.min(LAST_PAUSE_MS, math.floor(math.max(FIRST_PAUSE_MS * 2 ^ math.min(failures, 20) * jitter, at_least_ms)))
end

-- Pauses the lane, unless another delivery of the same time has: that is one failure of the receiver, not two. Answers for
-- how long it has failed.
local function pause_lane()
  local lane_state = index_fields(state_name, 'failures', 'since_ms', 'paused_until_ms')
  local since = bounded(lane_state.since_ms, 0, NOW, NOW)
  if bounded(lane_state.paused_until_ms, 0, 1e14, 0) <= NOW then
    local failures = bounded(lane_state.failures, 0, 1e6, 0)
    index('HSET', state_name, 'failures', failures + 1, 'since_ms', string.format('%.0f', since), 'paused_until_ms',
      string.format('%.0f', NOW + pause(failures)))
    redis.call('PEXPIRE', P .. state_name, LANE_STATE_MS)
  end
  return NOW - since
end

index('ZREM', 'sending:' .. lane, id)
index('ZREM', 'sending-of:' .. owner, id)
redis.call('HSET', key, 'last_status', status, 'last_error', error)
local failing_ms, state = 0, 'pending'
if outcome == 'delivered' then
  redis.call('DEL', P .. state_name)
  state = 'delivered'
elseif outcome == 'over' then
  state = 'failed'
else
  failing_ms = pause_lane()
  local failures = bounded(record.failures, 0, 1e6, 0) + (answered and 1 or 0)
  redis.call('HSET', key, 'failures', failures)
  local due_us = bounded(record.at_us, 0, 1e16, 0)
  if failures >= ASIDE_AFTER then due_us = (NOW + pause(failures - 1)) * 1000 end
  index('ZADD', 'lane:' .. lane, string.format('%.0f', due_us), id)
  if NOW - bounded(record.tried_from_ms, 0, NOW, 0) >= tried_for_ms then state = 'failed' end
end
if state ~= 'pending' then end_delivery(id, record, state) end
schedule_lane(owner, lane)
return {state, string.format('%.0f', failing_ms)}
