#!lua flags=allow-oom
-- Seals an open batch: no line is added from now on, and it ends after its last one. A sealed one does not change.
-- Answers sealed, missing, stopped (it is cancelled, or has ended without a seal), or old for a batch without lanes.
--[[ARGUMENTS id owner]]
local key = P .. 'batch:' .. id
local its = fields_if_any(key, 'owner', 'total', 'status', 'stop', 'is_sealed', 'on_bad_line')
if not its.total or its.owner ~= owner then
  return 'missing'
elseif not its.status then
  return 'old'
elseif its.is_sealed or its.status == 'running' or not its.on_bad_line then
  -- Only a batch that was opened has on_bad_line.
  return 'sealed'
elseif its.status ~= 'open' or its.stop then
  return 'stopped'
end
redis.call('HSET', key, 'status', 'running', 'is_sealed', 1)
index('ZREM', 'feeding-open', id)
index('SREM', 'open-batches:' .. owner, id)
index('ZADD', 'feeding', 0, id)
note_batch_change(id, 'sealed')
local record = batch_record(id)
if bounded(record.ended, 0, 1e9, 0) >= bounded(record.total, 0, 1e9, 1e9) then finish_batch(id, record) end
return 'sealed'
