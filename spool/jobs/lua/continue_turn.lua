#!lua flags=allow-oom
-- Writes the input of a running job that continues its conversation, once the earlier turns are known.
-- Arguments: earlier_bytes is the total length of the blocks; path has the digest and the messages of each block.
-- Answers continued; or lost (this fence no longer holds it).
--[[ARGUMENTS id fence input earlier_bytes path...]]
local key = job_key(id)
local record = fields_if_any(key, 'status', 'fence', 'owner', 'deadline_ms', 'ttl_s', 'before')
if record.status ~= 'running' or record.fence ~= fence then
  return 'lost'
end
-- Again, after an answer was lost: the blocks are registered already.
if path_at <= #ARGV and not record.before then
  local path = {unpack(ARGV, path_at)}
  store_blocks(record.owner, path, (missing_blocks(record.owner, path)), id, record.deadline_ms + record.ttl_s * 1000 + TOMBSTONE_MS)
  redis.call('HSET', key, 'before', path[#path - 1], 'earlier_bytes', earlier_bytes)
end
local figures, who = booked(id)
if who then
  local grown = #input - redis.call('STRLEN', key .. ':input')
  book(id, who, figures, {figures[1], figures[2], figures[3] + grown, figures[4], figures[5]})
end
redis.call('SET', key .. ':input', input)
return 'continued'
