#!lua
-- Makes a job the response that adds the conversation's next turn, if its items are as the job was given them, and no
-- other response is to add one. Arguments: id, owner, job, version of the items, when the conversation expires, ms.
-- Answers begun (also if it had begun), busy, or gone.
local P, id, owner, job, version, ends = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local key = P .. 'kept-conversation:' .. id
local record = redis.call('HMGET', key, 'owner', 'job', 'version', 'last_job', 'expires_ms')
if record[1] ~= owner then
  return 'gone'
elseif record[4] == job then
  return 'begun'
elseif record[2] or record[3] ~= version then
  return 'busy'
end
ends = math.max(ends, tonumber(record[5]) or 0)
redis.call('HSET', key, 'job', job, 'last_job', job, 'expires_ms', ends)
for _, name in ipairs({key, key .. ':items', key .. ':order'}) do
  redis.call('PEXPIREAT', name, ends)
end
redis.call('ZADD', P .. 'conversations:' .. owner, ends, id)
for _, name in ipairs({P .. 'conversations:' .. owner, P .. 'conversation-bytes:' .. owner}) do
  local time = redis.call('TIME')
  redis.call('PEXPIREAT', name, math.max(ends, redis.call('PTTL', name) + time[1] * 1000))
end
return 'begun'
