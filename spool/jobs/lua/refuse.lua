#!lua flags=allow-oom
-- Closes a model whose upstream refuses it, unless the refusal is the job's own: it was refused before, and other jobs
-- were answered since.
-- Arguments:
--   id, fence    the refused attempt; id '' if no job was refused
--   epoch        the closing during which the job is tried, '' for none (`probe_of`)
--   kind         refused; failed (the call of a job that is tried failed, perhaps because of its prompt); suspected
--                (calls of several jobs failed); exhausted (the upstream has no capacity left)
--   status       of the upstream's answer; 0 without one
--   retry_after_ms  for how long the upstream refuses; -1: unknown
--   answered_ms  how long ago this worker's last answer was complete; -1: never
-- Answers {1 if the refusal is the job's own, when it may be tried again, until when other jobs of its model should be
-- tried before it (0: it keeps its place), the job's refusals, the wait until it may be tried again in ms: clocks differ}
--[[ARGUMENTS model id fence epoch kind status:number reason retry_after_ms:number answered_ms:number]]
local FIRST_PAUSE_MS = 1000
local SUSPECTED_PAUSE_MS = 250
-- More than one, because prompts of the jobs that are tried may be the cause, and others wait behind them.
local SUSPECTED_WINDOW = 3
local PAUSE_AT_MOST_MS = 60000
local RETRY_AFTER_AT_MOST_MS = 300000
-- The pause between two probes, as a part of the time for which the model has been closed. So a model opens at most this
-- part later than its upstream, and a long outage costs few probes.
local PAUSE_PART = 1 / 12
-- Redis's clock and the upstream's differ by a little.
local EARLY_MS = 50
local CLOSED_KEPT_MS = 600000
local OWN_PAUSE_AT_MOST_MS = 60000
local name = 'closed:' .. model
local closed = index_fields(name, 'until_ms', 'since_ms', 'epoch', 'window', 'accepted_ms')
local until_ms = bounded(closed.until_ms, 0, NOW + CLOSED_AT_MOST_MS)
local since_ms = until_ms and bounded(closed.since_ms, 0, NOW) or NOW

-- Counts a refusal in the job's record. Answers whether it is the job's own, and the job's refusals.
local function count_refusal()
  local job = fields_if_any(job_key(id), 'fence', 'status', 'refusals', 'refused_ms')
  index('ZREM', 'probes:' .. model, id)
  if job.fence ~= fence or job.status ~= 'running' then return false, 0 end
  local answered = answered_ms >= 0 and NOW - answered_ms or 0
  local before, refused_ms = bounded(job.refusals, 0, 1e9, 0), bounded(job.refused_ms, 0, NOW, 0)
  redis.call('HSET', job_key(id), 'refusals', before + 1, 'refused_ms', NOW)
  return before > 0 and math.max(answered, bounded(closed.accepted_ms, 0, NOW, 0)) > refused_ms, before + 1
end

local function pause()
  if retry_after_ms >= 0 then
    local least = kind == 'exhausted' and 0 or FIRST_PAUSE_MS
    return math.max(least, math.min(retry_after_ms, RETRY_AFTER_AT_MOST_MS)) + EARLY_MS
  end
  local least = kind == 'refused' and FIRST_PAUSE_MS or SUSPECTED_PAUSE_MS
  return math.max(least, math.min((NOW - since_ms) * PAUSE_PART, PAUSE_AT_MOST_MS))
end

local function close_until(time_ms)
  if until_ms and until_ms >= time_ms then return end
  until_ms = math.floor(time_ms)
  index('HSET', name, 'until_ms', until_ms, 'since_ms', since_ms, 'reason', reason, 'status', status, 'kind', kind)
end

local is_own, refusals = false, 0
if id ~= '' and (kind == 'refused' or kind == 'failed') then
  is_own, refusals = count_refusal()
end
-- Its prompt may be what the upstream refuses, so a job that is refused again lets others be tried first.
local own_pause_ms = math.min(OWN_PAUSE_AT_MOST_MS, 1000 * 2 ^ math.min(math.max(refusals - 2, 0), 10))
if is_own then
  local pause_ms = math.max(own_pause_ms, math.min(retry_after_ms, RETRY_AFTER_AT_MOST_MS))
  return {1, NOW + pause_ms, NOW + pause_ms, refusals, pause_ms}
end
if kind ~= 'exhausted' and epoch == (until_ms and closed.epoch or '') then
  -- The first refusal of this closing. Refusals of other calls that were on their way say nothing new.
  local least = kind == 'refused' and 1 or SUSPECTED_WINDOW
  local window = until_ms and math.max(least, math.floor(bounded(closed.window, 1, WIDE_OPEN, 1) / 2)) or least
  index('HSET', name, 'epoch', NOW, 'window', window)
  redis.call('DEL', P .. 'probes:' .. model)
  close_until(NOW + pause())
elseif retry_after_ms >= 0 or not until_ms then
  if not until_ms then
    index('HSET', name, 'epoch', NOW, 'window', kind == 'exhausted' and WIDE_OPEN or 1)
  end
  close_until(NOW + pause())
end
index('SADD', 'closed-models', model)
redis.call('PEXPIRE', P .. name, math.max(0, until_ms - NOW) + CLOSED_KEPT_MS)
return {0, until_ms, refusals > 1 and math.max(NOW, until_ms) + own_pause_ms or 0, refusals, math.max(0, until_ms - NOW)}
