#!lua flags=allow-oom
-- Stops a batch: none of its lines and queued jobs begins from now on. Cancels some of its jobs, in each call others.
-- Arguments: owner ('' for any), why (cancelled; '' if it is stopped already), most jobs.
-- Answers the number of jobs that were cancelled; missing, ended, or old for a batch without lanes.
--[[ARGUMENTS id owner why most:number]]
local key = P .. 'batch:' .. id
local its = fields_if_any(key, 'owner', 'status', 'stop', 'lanes', 'total')
if not its.total or owner ~= '' and its.owner ~= owner then
  return 'missing'
elseif not its.status then
  return 'old'
elseif not is_begun(its.status) then
  return 'ended'
end
if why ~= '' and not its.stop then
  redis.call('HSET', key, 'stop', why, 'state', 'cancelling', 'cancelling_ms', NOW)
  index('ZADD', its.status == 'open' and 'feeding-open' or 'feeding', 0, id)
  note_batch_change(id, 'cancelling')
elseif not its.stop then
  return 0
end
local done = 0
for lane = 0, lane_count(id, its.lanes) - 1 do
  for _, job in ipairs(index('ZRANGE', 'batch:' .. id .. ':flight:' .. lane, 0, -1)) do
    if done >= most then return done end
    local state = fields_if_any(job_key(job), 'status', 'cancel_ms')
    if not state.cancel_ms and (state.status == 'queued' or state.status == 'running') then
      local ok, problem = pcall(request_cancel, job, state)
      if not ok then end_after(job, problem) end
      done = done + 1
    end
  end
end
local record = batch_record(id)
if is_begun(record.status) and bounded(record.ended, 0, 1e9, 0) >= bounded(record.total, 0, 1e9, 1e9) then
  -- An open batch of which each line has ended.
  finish_batch(id, record)
end
return done
