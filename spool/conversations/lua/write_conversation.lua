#!lua
-- Creates a conversation, or adds items to one, and moves its end. Both count against its owner's limits, except a
-- response's turn: its size is limited by its job's.
-- Arguments: id, owner, metadata (of a new one, else ''), job (of which this is the turn, else ''), seconds until it
-- expires, the most conversations and bytes of the owner, the most items and bytes of the conversation, then id and text
-- of each item. Without items, metadata and job, only checks the limits.
-- Answers written, gone (no such conversation), settled (the job's turn is there, or none is expected), full,
-- owner_full or too_many.
local P, id, owner, metadata, job = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ttl_ms, most_of_owner, most_bytes_of_owner = tonumber(ARGV[5]) * 1000, tonumber(ARGV[6]), tonumber(ARGV[7])
local most_items, most_bytes, FIRST = tonumber(ARGV[8]), tonumber(ARGV[9]), 10
local ITEM_BYTES, PRUNED_AT_ONCE = 200, 100
local key, list, sizes = P .. 'kept-conversation:' .. id, P .. 'conversations:' .. owner, P .. 'conversation-bytes:' .. owner
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local record = redis.call('HMGET', key, 'owner', 'job', 'last_item', 'expires_ms')
if metadata == '' and record[1] ~= owner then
  return 'gone'
elseif job ~= '' and record[2] ~= job then
  return 'settled'
elseif (metadata ~= '' and record[1]) or (ARGV[FIRST] and redis.call('HEXISTS', key .. ':items', ARGV[FIRST]) == 1) then
  -- The same call again, after its answer was lost.
  return 'written'
end
for _, expired in ipairs(redis.call('ZRANGEBYSCORE', list, '-inf', now, 'LIMIT', 0, PRUNED_AT_ONCE)) do
  redis.call('HINCRBY', sizes, 'all', -(tonumber(redis.call('HGET', sizes, expired)) or 0))
  redis.call('HDEL', sizes, expired)
  redis.call('ZREM', list, expired)
end
local size = 0
for at = FIRST, #ARGV, 2 do
  size = size + #ARGV[at] + #ARGV[at + 1] + ITEM_BYTES
end
local own = tonumber(redis.call('HGET', sizes, id)) or 0
if job == '' then
  if metadata ~= '' and redis.call('ZCARD', list) >= most_of_owner then
    return 'owner_full'
  elseif (tonumber(redis.call('HGET', sizes, 'all')) or 0) + size > most_bytes_of_owner then
    return 'owner_full'
  elseif own + size > most_bytes then
    return 'full'
  elseif redis.call('ZCARD', key .. ':order') + (#ARGV - FIRST + 1) / 2 > most_items then
    return 'too_many'
  end
end
if metadata == '' and job == '' and not ARGV[FIRST] then
  return 'written'
end
if metadata ~= '' then
  redis.call('HSET', key, 'id', id, 'owner', owner, 'metadata', metadata, 'created_ms', now)
end
local place = tonumber(record[3]) or 0
for at = FIRST, #ARGV, 2 do
  place = place + 1
  redis.call('HSET', key .. ':items', ARGV[at], ARGV[at + 1])
  redis.call('ZADD', key .. ':order', place, ARGV[at])
end
if job ~= '' then
  redis.call('HDEL', key, 'job')
end
-- A conversation whose response runs is kept as long as that.
local ends = math.max(now + ttl_ms, job == '' and tonumber(record[4]) or 0)
redis.call('HSET', key, 'last_item', place, 'expires_ms', ends)
redis.call('HINCRBY', key, 'version', 1)
for _, name in ipairs({key, key .. ':items', key .. ':order'}) do
  redis.call('PEXPIREAT', name, ends)
end
redis.call('ZADD', list, ends, id)
redis.call('HINCRBY', sizes, id, size)
redis.call('HINCRBY', sizes, 'all', size)
for _, name in ipairs({list, sizes}) do
  redis.call('PEXPIREAT', name, math.max(ends, (redis.call('PTTL', name) or 0) + now))
end
return 'written'
