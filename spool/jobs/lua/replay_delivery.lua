#!lua
-- Tries a delivery again at once, whatever its state, and ends the pause of its lane.
-- Answers its record, as names and values; false if it is missing or another owner's; full if the owner, or all owners
-- together, have as many outstanding deliveries as they may.
--[[ARGUMENTS id owner]]
local key = P .. 'delivery:' .. id
local record = hash_at(key)
if not record or record.owner ~= owner or not record.lane then return false end
local all, settled = 'deliveries:' .. owner, 'settled-deliveries:' .. owner
if record.state ~= 'pending' then
  if not has_room_in_outbox(owner) then return 'full' end
  redis.call('HSET', key, 'state', 'pending', 'tried_from_ms', NOW)
  redis.call('PEXPIRE', key, OUTBOX_KEPT_MS)
  redis.call('HDEL', key, 'ended_ms')
  index('ZREM', settled, id)
  index('ZREM', 'settled-of-all', owner .. ' ' .. id)
  index('ZADD', 'outstanding-deliveries', NOW, id)
  index('ZADD', all, record.at_us, id)
  redis.call('PEXPIRE', P .. all, OUTBOX_KEPT_MS)
end
redis.call('HSET', key, 'failures', 0)
if index('HEXISTS', 'lane-state:' .. record.lane, 'failures') == 1 then
  index('HSET', 'lane-state:' .. record.lane, 'paused_until_ms', 0)
end
-- One that is being sent keeps its lease.
if not index('ZSCORE', 'sending:' .. record.lane, id) then
  index('ZADD', 'lane:' .. record.lane, record.at_us, id)
end
schedule_lane(owner, record.lane)
return redis.call('HGETALL', key)
