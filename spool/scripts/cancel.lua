#!lua flags=allow-oom
-- Asks for a job's end. ARGV: id, owner. A queued job ends at once; a running one is flagged, and ends at its
-- worker's next append or heartbeat; one that has ended stays as it is. Answers its status, or nothing.
local key = job_key(ARGV[1])
local record = redis.call('HMGET', key, 'owner', 'status')
if not record[1] or record[1] ~= ARGV[2] then
  return false
end
if record[2] == 'queued' then
  redis.call('HSETNX', key, 'cancel_ms', NOW)
  end_cancelled(ARGV[1])
elseif record[2] == 'running' then
  redis.call('HSETNX', key, 'cancel_ms', NOW)
end
return redis.call('HGET', key, 'status')
