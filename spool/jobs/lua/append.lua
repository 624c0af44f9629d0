#!lua flags=allow-oom
-- Commits what gathered for any number of logs, each by itself: an error in one stops no other.
-- ARGV: lease_ms; then for each log: id, fence, first id, number of entries, end ('' or JSON), plain (1: text
-- only), text_at (where in the attempt's text the next begins, in bytes), text (what the entries add), the entries.
-- The end is {status, error, usage, finish_reason}; the last entry is then the terminal one.
-- Answers for each log, in order: N, the last id of the log (what is beyond it is to be sent again from there; ids
-- up to it were there already); or 'lost' (another fence holds the job, or it is gone), 'unclaimed' (nobody holds it),
-- 'cancelled', or an error.
-- This runs for every token, so it creates no string and makes no call that a token can do without.
local ARGV, call = ARGV, redis.call
local HEAD = 8
local lease_ms = tonumber(ARGV[1])
local RENEW_BEFORE = NOW + lease_ms * 0.75

-- The text of the entries that are new, where a resend brings some that are not.
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

-- Why nothing can be written, or the log's last id.
local function refused(id, fence, record, first, count, ending)
  --[[LIBRARY]]
  local last, status = tonumber(record[2]), record[3]
  if status and not TRANSITIONS[status] then error('status is no state of a job') end
  if record[1] ~= fence then
    return (status == 'cancelled' and 'cancelled') or (status == 'queued' and 'unclaimed') or 'lost'
  end
  if status ~= 'running' then
    -- It has ended under this very fence: by a resend's first copy, or by a cancel or a deadline.
    if status == 'cancelled' then return 'cancelled' end
    return ending ~= '' and last >= first + count - 1 and last or 'lost'
  end
  end_cancelled(id)
  return 'cancelled'
end

-- `at` is where the log's part of ARGV begins, `to` its last entry.
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
    -- Not APPEND: a Redis that loads a file which a crash has cut in the middle of a transaction may run it twice.
    call('SETRANGE', key .. ':text', text_at, text)
  end
  if ARGV[at + 5] == '0' then
    call('HSET', key, 'plain', 0)
  end
  if ending ~= '' then
    end_job(id, ending)
  elseif tonumber(record[4]) < RENEW_BEFORE then
    renew(id, key)
  end
  call('PUBLISH', log, (first + skip) .. '\n' .. (from == to and ARGV[to] or table.concat(ARGV, '\n', from, to)))
  return last
end

-- What a log's commit raised. A job whose record is damaged ends, or is set aside: no worker has it any more.
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
