#!lua flags=no-writes,allow-oom
-- Answers {cursor, then owner, queued jobs and running jobs of each owner in one step of a scan of the ledger}.
-- Arguments: the cursor ('0' at first), the fields of a step.
local step = redis.call('HSCAN', KEYS[1] .. 'ledger', ARGV[1], 'MATCH', 'sum:*', 'COUNT', ARGV[2])
local answer = {step[1]}
for i = 1, #step[2], 2 do
  local ok, queued, running = pcall(cmsgpack.unpack, step[2][i + 1])
  if ok and tonumber(queued) and tonumber(running) then
    answer[#answer + 1] = string.sub(step[2][i], 5)
    answer[#answer + 1] = math.floor(queued)
    answer[#answer + 1] = math.floor(running)
  end
end
return answer
