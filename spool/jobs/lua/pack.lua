#!lua flags=allow-oom
-- Replaces the log of an ended job by its packed form, and its input by a compressed one. One step: a reader finds the
-- stream or the packed log.
-- Arguments:
--   last, count  the last id and the number of entries of the stream that was packed
--   text_bytes   length of the text that the packed log gives; -1: the text stays
--   packed       the packed log; '' if this log cannot be packed, and stays a stream
--   input        the compressed input; '' if it stays
-- Answers packed, kept, or changed (the log is not the one that was packed).
--[[ARGUMENTS id last count:number text_bytes:number packed input]]
local key = job_key(id)
local log = key .. ':log'
index('ZREM', 'unpacked', id)
local record = fields_if_any(key, 'status', 'last', 'schema', 'on_worker_loss')
local has_ended = TRANSITIONS[record.status] and not next(TRANSITIONS[record.status])
if not has_ended or not bounded(record.schema or 1, 1, SCHEMA) or tonumber(record.schema) == PACKED then return 'changed' end
if packed == '' then
  redis.call('HSET', key, 'packed', 0)
  return 'kept'
end
local is_same = record.last == last and redis.pcall('XLEN', log) == count
if not is_same or text_bytes >= 0 and redis.pcall('STRLEN', key .. ':text') ~= text_bytes then return 'changed' end
local left_ms = redis.call('PTTL', key)
redis.call('DEL', log)
redis.call('SET', log, packed)
if input ~= '' then redis.call('SET', key .. ':input', input) end
if text_bytes >= 0 then redis.call('DEL', key .. ':text') end
if left_ms > 0 then
  local until_ms = string.format('%d', NOW + left_ms)
  redis.call('PEXPIREAT', log, until_ms)
  redis.call('PEXPIREAT', key .. ':input', until_ms)
end
-- Versions before this one do not compare the schema of an ended job, and would show it without text. They cannot decode
-- this value, and then answer that a newer version wrote the job.
redis.call('HSET', key, 'schema', PACKED, 'packed', 1, 'on_worker_loss', (record.on_worker_loss or 'restart') .. ' packed')
local before, who = booked(id)
if who then
  local bytes = JOB_BYTES + size_of(key .. ':input') + output_of(id)
  book(id, who, before, {before[1], before[2], bytes, before[4], before[5]})
end
return 'packed'
