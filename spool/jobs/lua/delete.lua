#!lua flags=allow-oom
-- Deletes an ended job, and the blocks of its conversation that no other job uses. Its tombstone stays.
-- Answers deleted; running (it has not ended); gone (it existed before); nothing if it is missing or another owner's;
-- damaged if its record has no usable owner; newer if a newer version wrote it.
--[[ARGUMENTS id owner]]
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
local state = fields_if_any(key, 'status', 'idempotency', 'before')
if TRANSITIONS[state.status] and next(TRANSITIONS[state.status]) then
  return 'running'
end
if has_event_readers(owner) then
  note_change(id, owner, 'deleted')
end
forget_deliveries(id, owner)
unbook(id)
redis.call('DEL', key, key .. ':input', key .. ':log', key .. ':text')
index('ZREM', 'owner:' .. owner, id)
index('ZREM', 'expiring', owner .. ' ' .. id)
index('ZREM', 'unpacked', id)
if state.before then
  hold_blocks(owner, state.before, id)
end
if state.idempotency and state.idempotency ~= '' then
  redis.call('DEL', P .. 'idempotency:' .. state.idempotency)
end
return 'deleted'
