#!lua
-- Counts the next block of an upload, stores it if its content is kept here, and renews the upload's lease.
-- Arguments: id, number of the block (from 0), its size as it is stored, limit of all files and of one owner's in bytes
-- (0: none), lease in ms, content ('' if another store has it).
-- Answers added, full, owner_full, or gone if the upload has ended. The same block again is added once.
local P, id, number, size = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local limit, owner_limit, lease_ms, content = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local key = P .. 'file:' .. id
local record = redis.call('HMGET', key, 'status', 'owner', 'blocks', 'stored')
if record[1] ~= 'uploading' then
  return 'gone'
end
local owner, blocks = record[2], tonumber(record[3])
if number < blocks then
  return 'added'
end
local sums = redis.call('HMGET', P .. 'file-bytes', 'all', 'owner:' .. owner)
local all, own = (tonumber(sums[1]) or 0) + size, (tonumber(sums[2]) or 0) + size
if limit > 0 and all > limit then
  return 'full'
elseif owner_limit > 0 and own > owner_limit then
  return 'owner_full'
end
local time = redis.call('TIME')
-- Absolute values: after a crash within a transaction, Redis may run it twice when it loads its file.
redis.call('HSET', P .. 'file-bytes', 'all', all, 'owner:' .. owner, own)
redis.call('HSET', key, 'blocks', number + 1, 'stored', tonumber(record[4]) + size)
if content ~= '' then
  redis.call('SET', key .. ':' .. number, content)
end
redis.call('ZADD', P .. 'file-ends', time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms, id)
return 'added'
