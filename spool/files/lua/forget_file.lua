#!lua flags=allow-oom
-- Deletes some blocks of a hidden file, and with the last ones its record.
-- Arguments: id, the most blocks. Answers the number of blocks that are left.
local P, id, most = KEYS[1], ARGV[1], tonumber(ARGV[2])
local key = P .. 'file:' .. id
local record = redis.call('HMGET', key, 'status', 'owner', 'blocks', 'stored')
if record[1] ~= 'deleting' then
  return 0
end
local owner, blocks, stored = record[2] or '', tonumber(record[3]) or 0, tonumber(record[4]) or 0
local left = math.max(0, blocks - most)
for number = left, blocks - 1 do
  redis.call('DEL', key .. ':' .. number)
end
if left > 0 then
  redis.call('HSET', key, 'blocks', left)
  return left
end
local sums = redis.call('HMGET', P .. 'file-bytes', 'all', 'owner:' .. owner)
local all, own = (tonumber(sums[1]) or 0) - stored, (tonumber(sums[2]) or 0) - stored
if own > 0 then
  redis.call('HSET', P .. 'file-bytes', 'all', all, 'owner:' .. owner, own)
else
  redis.call('HSET', P .. 'file-bytes', 'all', math.max(0, all))
  redis.call('HDEL', P .. 'file-bytes', 'owner:' .. owner)
end
redis.call('DEL', key)
redis.call('ZREM', P .. 'file-ends', id)
return 0
