#!lua flags=allow-oom
-- Publishes a process for some time, and answers {NOW, the records of all that live}.
-- Arguments: its name, its record, for how long (ms), the most records.
local P, name, record, life_ms, most = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', P .. 'instances-until', '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', P .. 'instances-until', gone)
  redis.call('HDEL', P .. 'instances', gone)
end
if name ~= '' and (redis.call('HLEN', P .. 'instances') < most or redis.call('HEXISTS', P .. 'instances', name) == 1) then
  redis.call('HSET', P .. 'instances', name, record)
  redis.call('ZADD', P .. 'instances-until', now + life_ms, name)
end
return {now, unpack(redis.call('HVALS', P .. 'instances'))}
