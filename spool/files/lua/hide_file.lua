#!lua flags=allow-oom
-- Begins to delete a file or an upload: from now on, it does not exist. If that is not completed within RETRIED_MS, it is
-- due for a sweep. Allowed without memory, since it leads to more.
-- Arguments: id, owner ('' for any), 1 to hide it only if its end has come.
-- Answers {its place, number of blocks}; empty if there is no such file. What is missing of a damaged record is empty.
local P, id, owner, only_due = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1'
local RETRIED_MS = 60000
local key, ends = P .. 'file:' .. id, P .. 'file-ends'
local record = redis.pcall('HMGET', key, 'status', 'owner', 'place', 'blocks')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if owner ~= '' and (record.err or record[2] ~= owner or record[1] ~= 'ready') then
  return {}
elseif only_due and (tonumber(redis.call('ZSCORE', ends, id)) or 0) > now then
  return {}
elseif record.err or not (record[1] or record[2] or record[3]) then
  redis.call('DEL', key)
  redis.call('ZREM', ends, id)
  return {}
end
redis.call('HSET', key, 'status', 'deleting')
redis.call('ZREM', P .. 'files:' .. (record[2] or ''), id)
redis.call('ZADD', ends, string.format('%.0f', now + RETRIED_MS), id)
return {record[3] or '', tonumber(record[4]) or 0}
