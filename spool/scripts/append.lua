#!lua flags=allow-oom
-- Commits what gathered for any number of logs, each by itself: an error in one stops no other.
-- ARGV: lease_ms; then for each log: id, fence, first id, number of entries, end ('' or JSON), plain (1: text
-- only), text (what the entries add to the answer), the entries.
-- The end is {status, error, usage, finish_reason}; the last entry is then the terminal one.
-- Answers for each log, in order: N, the last id of the log (what is beyond it is to be sent again from there; ids
-- up to it were there already); or 'lost' (another fence holds the job, or it is gone), 'unclaimed' (nobody holds it),
-- 'cancelled', or an error.
local lease_ms = tonumber(ARGV[1])

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

local function end_job(id, key, ending)
  local close_with = cjson.decode(ending)
  for _, name in ipairs({'error', 'usage', 'finish_reason'}) do
    local value = close_with[name]
    if value and value ~= cjson.null then
      redis.call('HSET', key, name, type(value) == 'table' and json(value) or value)
    end
  end
  close(id, close_with.status)
end

local function commit(id, fence, first, count, ending, plain, text, at)
  local key = job_key(id)
  local record = redis.call('HMGET', key, 'fence', 'last', 'status', 'cancel_ms', 'leased_until_ms', 'model')
  local last = tonumber(record[2])
  if record[1] ~= fence then
    return (record[3] == 'cancelled' and 'cancelled') or (record[3] == 'queued' and 'unclaimed') or 'lost'
  end
  if record[3] ~= 'running' then
    -- It has ended under this very fence: by a resend's first copy, or by a cancel or a deadline.
    if record[3] == 'cancelled' then return 'cancelled' end
    return ending ~= '' and last >= first + count - 1 and last or 'lost'
  end
  if record[4] then
    end_cancelled(id)
    return 'cancelled'
  end
  local skip = last + 1 - first
  if skip < 0 or skip >= count then
    return last
  end
  for i = skip, count - 1 do
    redis.call('XADD', key .. ':log', (first + i) .. '-0', 'entry', ARGV[at + i])
  end
  last = first + count - 1
  redis.call('HSET', key, 'last', last)
  if skip > 0 then
    text = text_of(at + skip, at + count - 1)
  end
  if text ~= '' then
    -- Not APPEND: a Redis that loads a file which a crash has cut in the middle of a transaction may run it twice.
    redis.call('SETRANGE', key .. ':text', redis.call('STRLEN', key .. ':text'), text)
  end
  if plain == '0' then
    redis.call('HSET', key, 'plain', 0)
  end
  if ending ~= '' then
    end_job(id, key, ending)
  elseif record[5] - NOW < lease_ms * 0.75 then
    redis.call('HSET', key, 'leased_until_ms', NOW + lease_ms)
    redis.call('ZADD', P .. 'running:' .. record[6], NOW + lease_ms, id)
  end
  redis.call('PUBLISH', key .. ':log', (first + skip) .. '\n' .. table.concat(ARGV, '\n', at + skip, at + count - 1))
  return last
end

local answers = {}
local at = 2
while at < #ARGV do
  local count = tonumber(ARGV[at + 3])
  local ok, answer = pcall(commit, ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), count, ARGV[at + 4], ARGV[at + 5],
    ARGV[at + 6], at + 7)
  answers[#answers + 1] = ok and answer or 'error ' .. tostring(type(answer) == 'table' and answer.err or answer)
  at = at + 7 + count
end
return answers
