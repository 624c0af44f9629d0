#!lua flags=allow-oom
-- A worker that runs a job finds that Redis has lost the claim. If nobody else has taken the job, it is given back to
-- the worker under the same fence; what else was lost is sent again under the same ids.
-- ARGV: id, fence, lease_ms, worker, attempt, mode, id of the attempt's first entry, that entry.
-- Answers the log's last id, or 'lost' or 'cancelled'.
local id, fence, attempt, first = ARGV[1], ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[7])
local key = job_key(id)
local verdict, fault, record = judge(id)
if verdict == 'damaged' then
  end_damaged(id, fault)
end
if verdict ~= 'sound' then
  return 'lost'
end
if record.status == 'cancelled' then
  return 'cancelled'
end
if record.status == 'running' and record.fence == fence then
  return tonumber(record.last)
end
-- A history that ends between two attempts is that of the one before, whole; and nothing can have come since.
if record.status ~= 'queued' or tonumber(record.attempt) ~= attempt - 1 or tonumber(record.last) >= first then
  return 'lost'
end
begin_attempt(id, record, {
  attempt = attempt, mode = ARGV[6], first = first, fence = fence, worker = ARGV[4], lease_ms = tonumber(ARGV[3]),
  -- What was sent behind the first entry is missing still; a heartbeat says when it is there again.
  server = record.server,
})
write(id, first, ARGV[8])
return first
