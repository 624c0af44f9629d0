#!lua flags=no-writes,allow-stale
-- Answers the models that are closed now, at most a thousand: {name, since_ms, until_ms, reason, status} of each.
local MODELS_AT_MOST = 1000
local found = {}
for i, model in ipairs(redis.pcall('SMEMBERS', P .. 'closed-models')) do
  local record = i <= MODELS_AT_MOST and fields_if_any(P .. 'closed:' .. model, 'since_ms', 'until_ms', 'reason', 'status') or {}
  local until_ms = bounded(record.until_ms, 0, NOW + CLOSED_AT_MOST_MS)
  if until_ms then
    local since_ms, status = bounded(record.since_ms, 0, NOW, NOW), bounded(record.status, 0, 999, 0)
    found[#found + 1] = {model, string.format('%.0f', since_ms), string.format('%.0f', until_ms), record.reason or '',
      string.format('%.0f', status)}
  end
end
return found
