#!lua flags=allow-oom
-- A worker that runs a job finds that Redis has lost the claim. If nobody else has taken the job, it is given back to
-- the worker under the same fence; what else was lost is sent again under the same ids.
-- ARGV: id, fence, lease_ms, worker, attempt, mode, id of the attempt's first entry, that entry.
-- Answers the log's last id, or 'lost' or 'cancelled'.
local id, fence, attempt, first = ARGV[1], ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[7])
local key = job_key(id)
local record = redis.call('HMGET', key, 'status', 'attempt', 'last', 'fence', 'server')
if record[1] == 'cancelled' then
  return 'cancelled'
end
if record[1] == 'running' and record[4] == fence then
  return tonumber(record[3])
end
-- A history that ends between two attempts is that of the one before, whole; and nothing can have come since.
if record[1] ~= 'queued' or tonumber(record[2]) ~= attempt - 1 or tonumber(record[3]) >= first then
  return 'lost'
end
begin_attempt(id, {
  attempt = attempt, mode = ARGV[6], first = first, fence = fence, worker = ARGV[4], lease_ms = tonumber(ARGV[3]),
  -- What was sent behind the first entry is missing still; a heartbeat says when it is there again.
  server = record[5] or nil,
})
write(id, first, ARGV[8])
return first
