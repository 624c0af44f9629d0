#!lua flags=no-writes
-- Reads an owner's complete batches, newest first.
-- Arguments: highest is the highest score ('+inf', or '(N' for those below), most the number of batches.
-- Answers the length of the page, for each batch its score, its id and its record, and the ids of those that have expired;
-- 0 if a key of another type is in the list's place. It may not write, so `tidy_batches` removes what is answered.
--[[ARGUMENTS owner highest most:number]]
local listed = redis.pcall('ZREVRANGEBYSCORE', P .. 'batches:' .. owner, highest, '-inf', 'WITHSCORES', 'LIMIT', 0, most)
if error_of(listed) then
  if string.find(error_of(listed), 'WRONGTYPE', 1, true) then return 0 end
  error(error_of(listed))
end
local found, expired = {}, {}
for i = 1, #listed, 2 do
  local record = redis.pcall('HGETALL', P .. 'batch:' .. listed[i])
  if not error_of(record) and #record == 0 then
    expired[#expired + 1] = listed[i]
  else
    found[#found + 1] = {listed[i + 1], listed[i], error_of(record) and {} or record}
  end
end
return {#listed / 2, found, expired}
