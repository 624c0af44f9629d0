#!lua flags=allow-oom
-- Ends lines of a batch that never become jobs: bad ones, or all that are left of a batch that was stopped.
-- Arguments: position of the first of them in its lane, status of all (failed, cancelled, expired), and for each line its
-- entry as JSON (',"batch_index":…').
-- Answers how many lines of the lane are dealt with now; -1 if the batch has ended.
--[[ARGUMENTS id lane position:number status lines...]]
local key = P .. 'batch:' .. id
local its = batch_record(id)
if not is_begun(its.status) then
  return -1
end
local fed = fed_of(id, lane, redis.call('HGET', key, 'fed:' .. lane))
if history_of(its) == 'unknown' or fed ~= position or (status ~= 'failed' and its.stop ~= status) then
  return fed
end
local count = #ARGV - lines_at + 1
note_fed_lines(id, lane, fed + count)
redis.call('HINCRBY', key, 'queued', -count)
redis.call('HINCRBY', key, status, count)
for i = lines_at, #ARGV do
  add_line(id, its, ARGV[i])
end
return fed + count
