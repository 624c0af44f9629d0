#!lua flags=allow-oom
-- Replaces the log of a batch that has ended by its packed form, which is staged. One step: a reader finds the stream or the
-- packed log.
-- Arguments:
--   attempt      names the staged log
--   last, count  the last id and the number of entries of the stream that was packed; count 0 if this log cannot be
--                packed, and stays a stream
--   size         length of the staged log, in bytes
-- Answers packed, kept, or changed (the log is not the one that was packed, or not all of it is staged).
--[[ARGUMENTS id attempt last count:number size:number]]
local key = P .. 'batch:' .. id
local log, staged = key .. ':log', key .. ':packed:' .. attempt
index('ZREM', 'unpacked-batches', id)
local record = fields_if_any(key, 'status', 'last', 'packed', 'owner')
local is_same = record.last == last and redis.pcall('XLEN', log) == count and redis.pcall('STRLEN', staged) == size
if not ENDED_LINES[record.status] or record.packed or count > 0 and not is_same then
  redis.call('DEL', staged)
  return 'changed'
end
redis.call('HSET', key, 'packed', count > 0 and 1 or 0)
if count == 0 then
  redis.call('DEL', staged)
  return 'kept'
end
redis.call('UNLINK', log)
redis.call('RENAME', staged, log)
local left_ms = redis.call('PTTL', key)
if left_ms > 0 then
  redis.call('PEXPIREAT', log, string.format('%d', NOW + left_ms))
else
  redis.call('PERSIST', log)
end
book_batch(id, record.owner, true)
return 'packed'
