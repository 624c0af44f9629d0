#!lua
-- Reserves requests within limits of any 60 seconds. Counts are kept by whole seconds, and the oldest counts whole.
-- Arguments: the wanted number, then name and limit of each counter. All counters grant the same number.
-- Answers {granted, then for each counter: the rest, and the seconds until its oldest second no longer counts}.
local P, wanted = KEYS[1], tonumber(ARGV[1])
local second = tonumber(redis.call('TIME')[1])
local granted, answer = wanted, {0}
local keys = {}

for i = 2, #ARGV, 2 do
  local key, limit = P .. 'door:' .. ARGV[i], tonumber(ARGV[i + 1])
  local counts, used, oldest = redis.call('HGETALL', key), 0, second
  for at = 1, #counts, 2 do
    local when = tonumber(counts[at]) or 0
    if when < second - 60 or when > second + 60 then
      redis.call('HDEL', key, counts[at])
    else
      used, oldest = used + (tonumber(counts[at + 1]) or 0), math.min(oldest, when)
    end
  end
  granted = math.max(0, math.min(granted, limit - used))
  keys[#keys + 1] = key
  answer[#answer + 1] = math.max(0, limit - used)
  answer[#answer + 1] = oldest + 61 - second
end

for i, key in ipairs(keys) do
  answer[2 * i] = answer[2 * i] - granted
  if granted > 0 then
    redis.call('HINCRBY', key, second, granted)
    redis.call('PEXPIRE', key, 62000)
  end
end
answer[1] = granted
return answer
