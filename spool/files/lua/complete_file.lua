#!lua
-- Completes an upload: from now on, the file exists.
-- Arguments: id, size in bytes, filename, purpose, seconds until it expires.
-- Answers ready (also if it was completed before), or gone if the upload has ended.
local P, id, size, filename, purpose, ttl_s = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local key = P .. 'file:' .. id
local record = redis.call('HMGET', key, 'status', 'owner')
if record[1] == 'ready' then
  return 'ready'
elseif record[1] ~= 'uploading' then
  return 'gone'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', key, 'status', 'ready', 'bytes', size, 'filename', filename, 'purpose', purpose,
  'created_ms', now, 'expires_ms', now + ttl_s * 1000)
redis.call('ZADD', P .. 'files:' .. record[2], 0, id)
redis.call('ZADD', P .. 'file-ends', now + ttl_s * 1000, id)
return 'ready'
