#!lua flags=allow-oom
-- Appends batched entries to any number of logs, each independently: an error in one log stops no other.
-- ARGV: lease_ms; then for each log:
--   id, fence, first id, number of entries,
--   end: '' or JSON {status, error, usage, finish_reason}; with it, the last entry is the terminal one,
--   plain: 1 for text only,
--   text_at: position of the new text in the attempt's text, in bytes,
--   text: the text that the entries add,
--   the entries.
-- Answers for each log, in order:
--   N          the last id of the log: the worker resends the entries after it; entries up to it were already there
--   lost       another fence holds the job, or it no longer exists
--   unclaimed  no worker holds the job
--   cancelled
--   error …
--[[SELDOM batch_flow_of close_in_batch dequeue end_line give_back hold_blocks keep_line key_running_of length_of note_change note_turn
  post_end prompt_tokens release reset_ledger unpark_flows unpark_key output_to_write expected_output index_fields named entries_since]]
-- This runs for every token, so it avoids every string and call that a token does not need.
local ARGV, call = ARGV, redis.call
local HEAD = 8
local lease_ms = tonumber(ARGV[1])
local RENEW_BEFORE = NOW + lease_ms * 0.75

-- The text of the new entries, for a resend that also contains old ones.
local function text_of(from, to)
  local parts = {}
  for i = from, to do
    local entry = cjson.decode(ARGV[i])
    if entry.kind == 'token' then
      parts[#parts + 1] = entry.text
    end
  end
  return table.concat(parts)
end

local function end_job(id, ending)
  --[[LIBRARY]]
  local close_with, said = cjson.decode(ending), {}
  for _, name in ipairs({'error', 'usage', 'finish_reason'}) do
    local value = close_with[name]
    if value and value ~= cjson.null then
      said[#said + 1] = name
      said[#said + 1] = type(value) == 'table' and json(value) or value
    end
  end
  close(id, close_with.status, unpack(said))
end

local function renew(id, key)
  --[[LIBRARY]]
  local until_ms = NOW + lease_ms
  call('HSET', key, 'leased_until_ms', until_ms)
  index('ZADD', 'running:' .. call('HGET', key, 'model'), until_ms, id)
end

-- The reason why nothing can be written; or the log's last id, for a resend of its end.
local function refused(id, fence, record, first, count, ending)
  --[[LIBRARY]]
  local last, status = tonumber(record[2]), record[3]
  if status and not TRANSITIONS[status] then error('status is not a state of a job') end
  if record[1] ~= fence then
    return (status == 'cancelled' and 'cancelled') or (status == 'queued' and 'unclaimed') or 'lost'
  end
  if status ~= 'running' then
    -- The job has ended under this fence: by the first copy of this resend, by a cancel, or by a deadline.
    if status == 'cancelled' then return 'cancelled' end
    return ending ~= '' and last >= first + count - 1 and last or 'lost'
  end
  end_cancelled(id)
  return 'cancelled'
end

-- Appends one log's entries. `at` is the start of its part of ARGV, `to` the position of its last entry.
local function commit(at, count, to)
  local id, first, ending = ARGV[at], tonumber(ARGV[at + 2]), ARGV[at + 4]
  local key = P .. 'job:' .. id
  local log = key .. ':log'
  local record = call('HMGET', key, 'fence', 'last', 'status', 'leased_until_ms', 'cancel_ms')
  if record[1] ~= ARGV[at + 1] or record[3] ~= 'running' or record[5] then
    return refused(id, ARGV[at + 1], record, first, count, ending)
  end
  local skip = record[2] + 1 - first
  if skip < 0 or skip >= count then
    return tonumber(record[2])
  end
  local from, text_at, text = at + HEAD + skip, ARGV[at + 6], ARGV[at + 7]
  for i = from, to do
    call('XADD', log, (first + i - at - HEAD) .. '-0', 'entry', ARGV[i])
  end
  local last = first + count - 1
  call('HSET', key, 'last', last)
  if skip > 0 then
    local new = text_of(from, to)
    text_at, text = text_at + #text - #new, new
  end
  if text ~= '' then
    -- Not APPEND: after a crash within a transaction, Redis may run it twice when it loads its file.
    call('SETRANGE', key .. ':text', text_at, text)
  end
  if ARGV[at + 5] == '0' then
    call('HSET', key, 'text_only', 0)
  end
  if ending ~= '' then
    end_job(id, ending)
  elseif tonumber(record[4]) < RENEW_BEFORE then
    renew(id, key)
  end
  call('PUBLISH', log, (first + skip) .. '\n' .. (from == to and ARGV[to] or table.concat(ARGV, '\n', from, to)))
  return last
end

-- The answer after an error in a log's commit. A job with a damaged record ends or is set aside, so its worker loses
-- it.
local function after_error(id, problem)
  --[[LIBRARY]]
  if is_lost_after(id) then return 'lost' end
  return 'error ' .. tostring(type(problem) == 'table' and problem.err or problem)
end

local answers, at = {}, 2
while at < #ARGV do
  local count = tonumber(ARGV[at + 3])
  local to = at + HEAD + count - 1
  local ok, answer = pcall(commit, at, count, to)
  answers[#answers + 1] = ok and answer or after_error(ARGV[at], answer)
  at = to + 1
end
return answers
