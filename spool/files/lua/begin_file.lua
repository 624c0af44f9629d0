#!lua
-- Writes the record of a file whose upload begins.
-- Arguments: id, owner, place, the most files of an owner, for how long the upload may be silent (ms).
-- Answers begun, or owner_full if the owner has as many files as it may.
local P, id, owner, place, most, lease_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZCARD', P .. 'files:' .. owner) >= most then
  return 'owner_full'
end
redis.call('HSET', P .. 'file:' .. id, 'id', id, 'owner', owner, 'place', place, 'status', 'uploading', 'blocks', 0, 'stored', 0)
redis.call('ZADD', P .. 'file-ends', now + lease_ms, id)
return 'begun'
