#!lua flags=allow-oom
-- Ends a job whose record a process could not read, or sets it aside.
-- ARGV: id, owner ('' from a worker), description of the fault.
-- Answers ended, repaired (it had ended before), set_aside, newer, sound (no fault found), or missing (also for another
-- owner's job).
local id, owner = ARGV[1], ARGV[2] ~= '' and ARGV[2] or nil
if owner then
  local said = redis.pcall('HGET', job_key(id), 'owner')
  local is_listed = index('ZSCORE', 'owner:' .. owner, id)
  local is_said = type(said) == 'string' and is_name(said)
  if said ~= owner and not (is_listed and not is_said) then return 'missing' end
end
return end_damaged(id, ARGV[3] ~= '' and ARGV[3] or nil, owner)
