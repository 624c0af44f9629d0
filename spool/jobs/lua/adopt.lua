#!lua flags=allow-oom
-- Restores a running worker's claim that Redis has lost, unless another worker has claimed the job since.
-- The fence stays the same. The worker resends all other lost entries under the same ids.
-- Arguments: first is the id of the attempt's first entry, opening that entry.
-- Answers the log's last id, or 'lost' or 'cancelled'.
--[[ARGUMENTS id fence lease_ms:number worker attempt:number mode first:number opening]]
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
-- The history must end between the two attempts: then the previous attempt is complete, and nothing was added since.
if record.status ~= 'queued' or tonumber(record.attempt) ~= attempt - 1 or tonumber(record.last) >= first then
  return 'lost'
end
begin_attempt(id, record, {
  attempt = attempt, mode = mode, first = first, fence = fence, worker = worker, lease_ms = lease_ms,
  -- The entries after the first one are still missing. A heartbeat reports when the log is complete again.
  server = record.server,
})
write_entry(id, first, opening)
return first
