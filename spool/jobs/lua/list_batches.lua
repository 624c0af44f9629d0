#!lua flags=allow-oom
-- Reads an owner's complete batches, newest first.
-- Arguments: highest is the highest score ('+inf', or '(N' for those below), most the number of batches.
-- Answers for each batch its score, its id and its record. Batches that have expired leave the list.
--[[ARGUMENTS owner highest most:number]]
local name, found = 'batches:' .. owner, {}
local listed = index('ZREVRANGEBYSCORE', name, highest, '-inf', 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #listed, 2 do
  local record = redis.pcall('HGETALL', P .. 'batch:' .. listed[i])
  if not error_of(record) and #record == 0 then
    index('ZREM', name, listed[i])
  else
    found[#found + 1] = {listed[i + 1], listed[i], error_of(record) and {} or record}
  end
end
return {#listed / 2, found}
