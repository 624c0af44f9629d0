#!lua flags=allow-oom
-- Cancels a job.
-- A queued job ends at once. A running job is flagged, and ends at its worker's next append or heartbeat. An ended job
-- does not change.
-- Answers its status; nothing if it is missing or another owner's; damaged if its record has no usable owner; newer if
-- a newer version wrote it.
--[[ARGUMENTS id owner]]
local key = job_key(id)
local verdict, fault, record = judge(id)
if verdict == 'missing' or record and record.owner and record.owner ~= owner then
  return false
elseif verdict == 'newer' or verdict == 'damaged' and not (record and record.owner) then
  return verdict
elseif verdict == 'damaged' then
  end_damaged(id, fault)
else
  request_cancel(id, record)
end
return redis.call('HGET', key, 'status')
