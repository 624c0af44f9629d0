#!lua flags=allow-oom
-- Hands a job back on behalf of its worker.
-- Arguments: costs is 1 if it counts as an attempt, reason is one word, restarts is 1 to restart even an answer that
-- could be continued, again_ms is until when other jobs of its model should be tried before it (0: it keeps its place),
-- upstream is JSON, or empty: what the upstream's error named.
-- Answers the job's new state: queued, failed, cancelled; or lost (this fence no longer holds it).
--[[ARGUMENTS id fence costs:number max_attempts:number reason message restarts:flag again_ms:number upstream]]
local verdict, fault, record = judge(id)
if verdict == 'damaged' then
  end_damaged(id, fault)
  return 'lost'
end
if verdict == 'missing' or record.fence ~= fence or record.status ~= 'running' then
  return record and record.status == 'cancelled' and 'cancelled' or 'lost'
end
if restarts then
  redis.call('HSET', job_key(id), 'text_only', 0)
end
local loss = {costs = costs, reason = reason, message = message, again_ms = again_ms > 0 and again_ms or nil,
  upstream = upstream ~= '' and cjson.decode(upstream) or nil}
local ok, became = pcall(retry, id, max_attempts, loss)
if not ok then
  end_after(id, became)
  return 'lost'
end
return became
