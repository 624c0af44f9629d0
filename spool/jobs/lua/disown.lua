#!lua flags=allow-oom
-- A worker has given a job up, and Redis has lost that it ever had it: readers may have seen more of it than is there, so
-- its next entry has to jump. ARGV: id, attempt. Answers 1.
local verdict, fault, record = judge(ARGV[1])
if verdict == 'damaged' then
  end_damaged(ARGV[1], fault)
elseif verdict == 'sound' and record.status == 'queued' and tonumber(record.attempt) < tonumber(ARGV[2]) then
  redis.call('HSET', job_key(ARGV[1]), 'torn', 1)
end
return 1
