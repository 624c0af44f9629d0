#!lua flags=allow-oom
-- Keeps the events of owners for `keep_ms` from now, and begins to write those that are not written yet.
-- Answers the id of the last event of each owner, in order.
--[[ARGUMENTS keep_ms:number owners...]]
local answers = {}
index('ZREMRANGEBYSCORE', 'event-logs', '-inf', NOW)
for i = owners_at, #ARGV do
  local key = P .. 'events:' .. ARGV[i]
  local record = fields_if_any(key, 'last')
  local last = bounded(record.last, 1, 1e14)
  if not last then
    last = NOW * EVENT_IDS_A_MS
    redis.call('DEL', key, key .. ':log', key .. ':records')
    redis.call('HSET', key, 'last', last, 'run_id', RUN_ID)
  end
  redis.call('HSET', key, 'status', 'running', 'until_ms', NOW + keep_ms)
  redis.call('PEXPIREAT', key, NOW + keep_ms)
  redis.call('PEXPIREAT', key .. ':log', NOW + keep_ms)
  redis.call('PEXPIREAT', key .. ':records', NOW + keep_ms)
  index('ZADD', 'event-logs', NOW + keep_ms, ARGV[i])
  answers[#answers + 1] = last
end
return answers
