#!lua flags=allow-oom
-- Writes the switches that a process knew, if Redis has lost changes of them since: its data was deleted, or it came
-- back from before. Arguments: the number of changes that the process knew, then pairs of name and value.
-- Answers whether it wrote them.
local key, changes = KEYS[1] .. 'switches', tonumber(ARGV[1])
if (tonumber(redis.call('HGET', key, 'changes')) or 0) >= changes then return 0 end
redis.call('DEL', key)
for at = 2, #ARGV, 2 do
  redis.call('HSET', key, ARGV[at], ARGV[at + 1])
end
redis.call('HSET', key, 'changes', changes)
return 1
