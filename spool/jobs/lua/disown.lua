#!lua flags=allow-oom
-- Marks a job as torn: a worker handed it back, and Redis has lost that worker's claim. Readers may have seen entries
-- that are lost, so the next entry's id must jump. ARGV: id, attempt. Answers 1.
local verdict, fault, record = judge(ARGV[1])
if verdict == 'damaged' then
  end_damaged(ARGV[1], fault)
elseif verdict == 'sound' and record.status == 'queued' and tonumber(record.attempt) < tonumber(ARGV[2]) then
  redis.call('HSET', job_key(ARGV[1]), 'torn', 1)
end
return 1
