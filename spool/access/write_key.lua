#!lua flags=allow-oom
-- Writes a key's record, and changes the version by which all processes notice it.
-- Allowed without memory, since a key must be revocable then; the number of keys is bounded.
-- Arguments: id, the most keys that may exist (0: the key must exist), names and values of fields.
-- Answers written, full or missing. Written again by the same call, after its answer was lost, it is the same.
local P, id, most = KEYS[1], ARGV[1], tonumber(ARGV[2])
local key = P .. 'key:' .. id
local exists = redis.call('EXISTS', key) == 1
if not exists then
  if most == 0 then
    return 'missing'
  elseif redis.call('ZCARD', P .. 'keys') >= most then
    return 'full'
  end
end
redis.call('HSET', key, unpack(ARGV, 3))
local times = redis.call('HMGET', key, 'created_ms', 'expires_ms', 'revoked_ms')
redis.call('ZADD', P .. 'keys', tonumber(times[1]) or 0, id)
-- A key that is no longer valid can be listed for 30 days.
local over = tonumber(times[3]) or tonumber(times[2]) or 0
if over > 0 then
  redis.call('PEXPIREAT', key, over + 30 * 86400000)
end
redis.call('INCR', P .. 'keys-version')
return 'written'
