-- Lines for the logs: what a script does to a job that no process of the job would log. The process that keeps the shard
-- writes them.
local TOLD_AT_MOST = 10000

-- Adds an event of a job. `what` has its fields; `event` is its name.
local function tell(id, what)
  --[[LIBRARY]]
  local record = fields_if_any(job_key(id), 'request_id', 'model', 'attempt', 'traceparent', 'attempts')
  what.job, what.request_id, what.model, what.attempt = id, record.request_id, record.model, tonumber(record.attempt or nil)
  if record.traceparent then
    what.traceparent, what.at_ms = record.traceparent, NOW
    -- The last one is the attempt's.
    for at_ms in string.gmatch(record.attempts or '', '"at_ms":(%d+)') do what.claimed_ms = bounded(at_ms, 0, NOW) end
  end
  index('RPUSH', 'told', json(what))
  index('LTRIM', 'told', -TOLD_AT_MOST, -1)
end
