#!lua
-- Begins to delete a file or an upload: from now on, it does not exist. If nothing else completes that, the sweep does.
-- Arguments: id, owner ('' for any), 1 to hide it only if its end has come.
-- Answers {its place, number of blocks}; empty if there is no such file.
local P, id, owner, only_due = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1'
local key, ends = P .. 'file:' .. id, P .. 'file-ends'
local record = redis.call('HMGET', key, 'status', 'owner', 'place', 'blocks')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not record[1] then
  redis.call('ZREM', ends, id)
  return {}
elseif owner ~= '' and (record[2] ~= owner or record[1] ~= 'ready') then
  return {}
elseif only_due and (tonumber(redis.call('ZSCORE', ends, id)) or 0) > now then
  return {}
end
redis.call('HSET', key, 'status', 'deleting')
redis.call('ZREM', P .. 'files:' .. record[2], id)
redis.call('ZADD', ends, now, id)
return {record[3], tonumber(record[4])}
