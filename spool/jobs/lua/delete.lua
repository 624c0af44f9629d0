#!lua flags=allow-oom
-- Deletes an ended job, and the blocks of its conversation that no other job uses. Its tombstone stays.
-- ARGV: id, owner.
-- Answers deleted; running (it has not ended); gone (it existed before); nothing if it is missing or another owner's;
-- damaged if its record has no usable owner; newer if a newer version wrote it.
local id, owner = ARGV[1], ARGV[2]
local key = job_key(id)
local verdict, fault, record = judge(id)
if verdict == 'missing' then
  return redis.pcall('GET', key .. ':gone') == owner and 'gone'
elseif record and record.owner and record.owner ~= owner then
  return false
elseif verdict == 'newer' or verdict == 'damaged' and not (record and record.owner) then
  return verdict
elseif verdict == 'damaged' then
  end_damaged(id, fault)
end
local state = redis.pcall('HMGET', key, 'status', 'idempotency', 'before')
if TRANSITIONS[state[1]] and next(TRANSITIONS[state[1]]) then
  return 'running'
end
unbook(id)
redis.call('DEL', key, key .. ':input', key .. ':log', key .. ':text')
index('ZREM', 'owner:' .. owner, id)
index('ZREM', 'kept', owner .. ' ' .. id)
if state[3] then
  hold_blocks(owner, state[3], id)
end
if state[2] and state[2] ~= '' then
  redis.call('DEL', P .. 'idempotency:' .. state[2])
end
return 'deleted'
