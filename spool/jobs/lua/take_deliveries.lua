#!lua flags=allow-oom
-- Leases deliveries that are due, for one attempt each.
-- A lane is one receiver: an endpoint, or an owner's webhooks to one host and port. While a lane fails, one delivery of it
-- is tried at a time, else lane_most; of an owner's, owner_most. A lane at a limit is passed over.
-- Arguments: lease_ms is the time after which another worker may try a delivery again, most the number of deliveries,
-- tried_for_ms the time after which one is given up.
-- Answers the record of each delivery, as names and values.
--[[ARGUMENTS lease_ms:number most:number lane_most:number owner_most:number tried_for_ms:number]]
local PASSED_OVER_MS = 250
local SPREAD_MS = 2
local LANES_LOOKED_AT = 100
local GIVEN_UP_AT_ONCE = 100
local found, passed_over = {}, {}

-- The record of the first due delivery of a lane. Those before it that are damaged leave the lane, and those that are too
-- old are given up.
local function first_due(owner, lane)
  local due = index('ZRANGEBYSCORE', 'lane:' .. lane, '-inf', string.format('%.0f', NOW * 1000 + 999), 'LIMIT', 0, GIVEN_UP_AT_ONCE)
  for _, id in ipairs(due) do
    local record = hash_at(P .. 'delivery:' .. id)
    if not record or record.id ~= id or record.state ~= 'pending' or record.owner ~= owner or record.lane ~= lane then
      index('ZREM', 'lane:' .. lane, id)
    elseif NOW - bounded(record.tried_from_ms, 0, NOW, 0) >= tried_for_ms then
      end_delivery(id, record, 'failed')
    else
      return record
    end
  end
end

-- Leases the first due delivery of a lane, and schedules the lane.
local function take(owner, lane)
  local sending, of_owner = 'sending:' .. lane, 'sending-of:' .. owner
  index('ZREMRANGEBYSCORE', sending, '-inf', NOW)
  index('ZREMRANGEBYSCORE', of_owner, '-inf', NOW)
  local fails = bounded(index('HGET', 'lane-state:' .. lane, 'failures'), 1, 1e6)
  if index('ZCARD', sending) >= (fails and 1 or lane_most) or index('ZCARD', of_owner) >= owner_most then
    -- The lanes of an owner with thousands of receivers are spread over a minute or two: they must not all be passed over
    -- again before the lanes of others.
    local count = (passed_over[owner] or 0) + 1
    passed_over[owner] = count
    schedule_lane(owner, lane, NOW + math.max(PASSED_OVER_MS, SPREAD_MS * count * count))
    return
  end
  local record = first_due(owner, lane)
  if record then
    record.attempts = string.format('%d', bounded(record.attempts, 0, 1e6, 0) + 1)
    redis.call('HSET', P .. 'delivery:' .. record.id, 'attempts', record.attempts)
    local until_ms = string.format('%.0f', NOW + lease_ms)
    index('ZADD', 'lane:' .. lane, until_ms .. '000', record.id)
    index('ZADD', sending, until_ms, record.id)
    index('ZADD', of_owner, until_ms, record.id)
    redis.call('PEXPIRE', P .. sending, lease_ms)
    redis.call('PEXPIRE', P .. of_owner, lease_ms)
    local row = {}
    for name, value in pairs(record) do
      row[#row + 1], row[#row + 2] = name, value
    end
    found[#found + 1] = row
  end
  schedule_lane(owner, lane, NOW)
end

for _ = 1, LANES_LOOKED_AT + 2 * most do
  local name = #found < most and index('ZRANGEBYSCORE', 'lanes', '-inf', NOW, 'LIMIT', 0, 1)[1]
  if not name then break end
  local owner, lane = string.match(name, '^(%S+) (%S+)$')
  if owner then take(owner, lane) else index('ZREM', 'lanes', name) end
end
return found
