#!lua flags=allow-oom
-- Checks the permissions that the other scripts need.
-- Answers {live workers, commands that this user may not run or use on Spool's keys…}.
-- Each command runs without effect: on a key of another type, or on a missing key.
local P = KEYS[1]
local text, none, channel = P .. 'probe', P .. 'none', P .. 'job:none:log'
local refused = {}

local function try(...)
  local answer = redis.pcall(...)
  local failure = type(answer) == 'table' and answer.err
  if failure and (string.find(failure, 'NOPERM', 1, true) or string.find(failure, 'ACL failure', 1, true) or string.find(failure, 'no permission', 1, true)
      or string.find(failure, 'user executing the script', 1, true)) then
    refused[#refused + 1] = (...)
    return nil
  end
  return answer
end

-- The only write with effect, once a day: the writes below fail on the type of this key.
if try('EXISTS', text) == 0 then try('SET', text, 'x', 'PX', 86400000) else try('SET', text, 'x', 'NX') end
local now = try('TIME')

for _, command in ipairs({
  {'GET', none}, {'GETRANGE', none, 0, 0}, {'HGET', none, 'a'}, {'HSCAN', none, 0}, {'LLEN', none}, {'SRANDMEMBER', none},
  {'MEMORY', 'USAGE', none}, {'HGETALL', none}, {'HMGET', none, 'a'}, {'HEXISTS', none, 'a'}, {'HLEN', none}, {'HVALS', none}, {'HKEYS', none},
  {'LRANGE', none, 0, 0}, {'PTTL', none}, {'SCARD', none}, {'SISMEMBER', none, 'a'}, {'SMEMBERS', none}, {'STRLEN', none}, {'TYPE', none},
  {'XLEN', none}, {'XRANGE', none, '-', '+', 'COUNT', 1}, {'XREVRANGE', none, '+', '-', 'COUNT', 1}, {'XINFO', 'STREAM', none},
  {'ZCARD', none}, {'ZCOUNT', none, 0, 0}, {'ZRANGE', none, 0, 0}, {'ZRANGEBYSCORE', none, 0, 0}, {'ZREVRANGEBYSCORE', none, 0, 0},
  {'ZRANK', none, 'a'}, {'ZSCORE', none, 'a'}, {'SCAN', 0, 'COUNT', 1}, {'INFO', 'server'},
  {'DEL', none}, {'UNLINK', none}, {'XTRIM', none, 'MAXLEN', 0}, {'HDEL', none, 'a'}, {'LPOP', none}, {'LTRIM', none, 0, 0}, {'PEXPIRE', none, 1}, {'PEXPIREAT', none, 1}, {'PERSIST', none}, {'SREM', none, 'a'}, {'ZPOPMIN', none},
  {'ZREM', none, 'a'}, {'ZREMRANGEBYSCORE', none, 0, 0}, {'RENAME', none, none},
  {'HINCRBY', text, 'a', 1}, {'HSET', text, 'a', 1}, {'HSETNX', text, 'a', 1}, {'INCR', text}, {'RPUSH', text, 'a'},
  {'SADD', text, 'a'}, {'SETRANGE', text, 0, ''}, {'XADD', text, '*', 'a', 'b'}, {'ZADD', text, 1, 'a'},
  {'PUBLISH', channel, ''},
}) do
  try(unpack(command))
end

local live = now and try('ZCOUNT', P .. 'workers', now[1] * 1000, '+inf')
return {tonumber(live) or -1, unpack(refused)}
