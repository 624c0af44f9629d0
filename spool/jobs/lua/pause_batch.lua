#!lua flags=allow-oom
-- Pauses a batch, so that no more of its lines become jobs, or resumes it. Jobs that wait or run are not changed.
-- Answers done, missing, ended, or old for a batch without lanes.
--[[ARGUMENTS id owner is_paused:flag]]
local key = P .. 'batch:' .. id
local its = fields_if_any(key, 'owner', 'status', 'total')
if not its.total or its.owner ~= owner then
  return 'missing'
elseif not its.status then
  return 'old'
elseif not is_begun(its.status) then
  return 'ended'
end
-- Either answers 1 if it changes something.
local changed = is_paused and redis.call('HSET', key, 'paused', 1) or not is_paused and redis.call('HDEL', key, 'paused')
if changed == 1 then note_batch_change(id, is_paused and 'paused' or 'resumed') end
return 'done'
