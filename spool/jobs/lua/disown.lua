#!lua flags=allow-oom
-- Marks that a job lost history: a worker handed it back, and Redis has lost that worker's claim. Readers may have seen entries
-- that are lost, so the next entry's id must jump. Answers 1.
--[[ARGUMENTS id attempt:number]]
local verdict, fault, record = judge(id)
if verdict == 'damaged' then
  end_damaged(id, fault)
elseif verdict == 'sound' and record.status == 'queued' and tonumber(record.attempt) < attempt then
  redis.call('HSET', job_key(id), 'history_lost', 1)
end
return 1
