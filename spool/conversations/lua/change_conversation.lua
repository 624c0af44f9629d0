#!lua flags=allow-oom
-- Changes a conversation's metadata, or deletes one of its items, or all of it. Allowed without memory, because it deletes.
-- Arguments: id, owner, what (metadata, item or all), the metadata or the item's id.
-- Answers changed, gone (no such conversation), or no_item.
local P, id, owner, what, value = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ITEM_BYTES = 200
local key, list, sizes = P .. 'kept-conversation:' .. id, P .. 'conversations:' .. owner, P .. 'conversation-bytes:' .. owner
if redis.call('HGET', key, 'owner') ~= owner then
  return 'gone'
end
local freed = 0
if what == 'metadata' then
  redis.call('HSET', key, 'metadata', value)
elseif what == 'item' then
  local text = redis.call('HGET', key .. ':items', value)
  if not text then
    return 'no_item'
  end
  freed = #value + #text + ITEM_BYTES
  redis.call('HDEL', key .. ':items', value)
  redis.call('ZREM', key .. ':order', value)
  redis.call('HINCRBY', key, 'version', 1)
  redis.call('HINCRBY', sizes, id, -freed)
else
  freed = tonumber(redis.call('HGET', sizes, id)) or 0
  redis.call('DEL', key, key .. ':items', key .. ':order')
  redis.call('ZREM', list, id)
  redis.call('HDEL', sizes, id)
end
if freed > 0 then
  redis.call('HINCRBY', sizes, 'all', -freed)
end
if redis.call('ZCARD', list) == 0 then
  redis.call('DEL', sizes)
end
return 'changed'
