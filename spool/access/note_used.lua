#!lua
-- Notes when keys were last used. Arguments: pairs of id and time in ms. Keys that no longer exist are left out.
local P = KEYS[1]
for i = 1, #ARGV, 2 do
  local key = P .. 'key:' .. ARGV[i]
  local before = redis.call('HGET', key, 'created_ms') and (tonumber(redis.call('HGET', key, 'used_ms')) or 0)
  if before and before < tonumber(ARGV[i + 1]) then
    redis.call('HSET', key, 'used_ms', ARGV[i + 1])
  end
end
