#!lua flags=allow-oom
-- Records that the upstream of a closed model accepted a job: one more may be tried at a time, and after enough of them
-- the model is open. `epoch` is the closing during which the job was tried.
-- Answers the number of jobs that may be tried at a time; 0: the model is open.
--[[ARGUMENTS model id epoch]]
local name = 'closed:' .. model
local closed = index_fields(name, 'epoch', 'window')
index('ZREM', 'probes:' .. model, id)
local window = bounded(closed.window, 1, WIDE_OPEN, 1)
if closed.epoch ~= epoch then
  return closed.epoch and window or 0
end
if window >= WIDE_OPEN then
  redis.call('DEL', P .. name, P .. 'probes:' .. model)
  return 0
end
-- The time for which it is closed begins again, because the upstream works.
index('HSET', name, 'window', window + 1, 'accepted_ms', NOW, 'since_ms', NOW)
return window + 1
