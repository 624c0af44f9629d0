#!lua flags=allow-oom
-- Ends a job whose record a process could not read, or sets it aside.
-- Arguments: owner is '' from a worker, seen describes the fault.
-- Answers ended, repaired (it had ended before), set_aside, newer, sound (no fault found), or missing (also for another
-- owner's job).
--[[ARGUMENTS id owner seen]]
if owner ~= '' then
  local said = redis.pcall('HGET', job_key(id), 'owner')
  local is_listed = index('ZSCORE', 'owner:' .. owner, id)
  local is_said = type(said) == 'string' and is_name(said)
  if said ~= owner and not (is_listed and not is_said) then return 'missing' end
end
return end_damaged(id, seen ~= '' and seen or nil, owner ~= '' and owner or nil)
