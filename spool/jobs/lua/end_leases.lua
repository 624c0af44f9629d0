#!lua flags=allow-oom
-- Ends the leases of a worker whose process has died, so that the keeper takes over its jobs at its next beat.
-- Arguments:
--   jobs  running jobs; those of other workers stay as they are
-- A lease that ends so has the time 0: the keeper does not wait for it even right after a restart of Redis.
-- Answers the number of leases that it ended.
--[[ARGUMENTS worker jobs...]]
index('ZREM', 'workers', worker)
index('HDEL', 'slots', worker)
index('HDEL', 'capacity', worker)
local ended = 0
for i = jobs_at, #ARGV do
  local key = job_key(ARGV[i])
  local record = fields_if_any(key, 'worker', 'status', 'model')
  if record.worker == worker and record.status == 'running' and record.model then
    redis.call('HSET', key, 'leased_until_ms', 0)
    index('ZADD', 'running:' .. record.model, 'XX', 0, ARGV[i])
    ended = ended + 1
  end
end
return ended
