#!lua flags=allow-oom
-- A worker has given a job up, and Redis has lost that it ever had it: readers may have seen more of it than is there, so
-- its next entry has to jump. ARGV: id, attempt. Answers 1.
local key = job_key(ARGV[1])
local record = redis.call('HMGET', key, 'status', 'attempt')
if record[1] == 'queued' and tonumber(record[2]) < tonumber(ARGV[2]) then
  redis.call('HSET', key, 'torn', 1)
end
return 1
