#!lua flags=allow-oom
-- Writes a switch, or deletes it if the value is empty, and counts the change in the field `changes`.
-- Arguments: name, value, the most switches. Answers 1; 0 if there was nothing to delete; -1 if there are too many.
local key, name, value = KEYS[1] .. 'switches', ARGV[1], ARGV[2]
local is_on = redis.call('HEXISTS', key, name) == 1
if value == '' then
  if not is_on then return 0 end
  redis.call('HDEL', key, name)
else
  local count = redis.call('HLEN', key) - redis.call('HEXISTS', key, 'changes')
  if not is_on and count >= tonumber(ARGV[3]) then return -1 end
  redis.call('HSET', key, name, value)
end
redis.call('HSET', key, 'changes', (tonumber(redis.call('HGET', key, 'changes')) or 0) + 1)
return 1
