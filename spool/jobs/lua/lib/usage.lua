-- Usage: what attempts have used, by owner, credential, model and day (UTC). usage:OWNER:MONTH has a row for each
-- credential, model and day, and the tokens of each day and of the month, in all and of each credential, for budgets
-- (spool.jobs.usage). Sums are written as absolute values, like the ledger's.
local USAGE_KEPT_MS = 400 * 86400000
local FIGURES_OF_A_ROW = 6

-- This month and this day of it, as text.
local function month_and_day()
  local today = rfc3339(NOW)
  return string.sub(today, 1, 7), string.sub(today, 9, 10)
end

-- The number of the first entry of a job's last attempt, and when it began; nil without one. `record` needs attempts and
-- attempt_first.
local function last_attempt(record)
  local first, at_ms = string.match(record.attempts or '', '"first":(%d+),"at_ms":(%d+)}%]$')
  if not first then
    local ok, list = pcall(cjson.decode, record.attempts or '')
    local last = ok and type(list) == 'table' and list[#list] or {}
    first, at_ms = last.first, last.at_ms
  end
  first = bounded(first, 0, VIRTUAL_AT_MOST)
  -- The log of an attempt that lost history goes on under a later number.
  return first and math.max(first, bounded(record.attempt_first, 0, VIRTUAL_AT_MOST, 0)), bounded(at_ms, 0, NOW, NOW)
end

-- The tokens that a job's last attempt has used, in and out: as its usage says, else as its log shows. An attempt that
-- wrote nothing has used none, since its upstream may never have had its prompt. `ends` is 1 if the log ends with a
-- terminal entry, else 0.
local function used_by_attempt(id, record, first, ends, usage)
  local said = decoded_usage(usage)
  local output = bounded(said.output_tokens, 0, TOKENS_AT_MOST)
  if not output then
    local entries = entries_since(id, first, record.last) - ends
    local bytes = length_of(job_key(id) .. ':text') - bounded(record.prefix_bytes, 0, 1e12, 0)
    output = math.min(TOKENS_AT_MOST, math.max(0, entries, math.ceil(bytes / BYTES_A_TOKEN)))
    if output == 0 then return 0, 0 end
  end
  return bounded(said.input_tokens, 0, TOKENS_AT_MOST) or prompt_tokens(id, record), output
end

-- Adds figures to a row of the usage, and their tokens to the sums. `more` has tokens in and out, jobs, attempts,
-- attempts that did not succeed, and milliseconds. `record` needs owner, model and credential.
local function note_usage(record, more)
  local month, day = month_and_day()
  local credential = string.gsub(record.credential or '', '%s', '_')
  local name = 'usage:' .. record.owner .. ':' .. month
  local names = {day .. ' ' .. credential .. ' ' .. record.model, 'month', 'day ' .. day}
  if credential ~= '' then
    names[4], names[5] = 'month ' .. credential, 'day ' .. day .. ' ' .. credential
  end
  local known, values = index('HMGET', name, unpack(names)), {}
  -- Of a damaged row, and of none, nothing matches.
  local row = {string.match(known[1] or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')}
  for i = 1, FIGURES_OF_A_ROW do row[i] = (row[i] or 0) + more[i] end
  values[1], values[2] = names[1], string.format('%.0f %.0f %.0f %.0f %.0f %.0f', unpack(row))
  for i = 2, #names do
    values[2 * i - 1], values[2 * i] = names[i], string.format('%.0f', bounded(known[i], 0, 1e15, 0) + more[1] + more[2])
  end
  index('HSET', name, unpack(values))
  if not known[2] then
    redis.call('PEXPIRE', P .. name, USAGE_KEPT_MS)
    index('SADD', 'usage-owners:' .. month, record.owner)
    redis.call('PEXPIRE', P .. 'usage-owners:' .. month, USAGE_KEPT_MS)
  end
end

-- Notes the usage of a job that has ended, and of its last attempt if that ends with it (`from` is running). `record` also
-- needs attempt, attempts, attempt_first, last, prefix_bytes, earlier_bytes and usage_noted.
local function note_end(id, record, from, status, usage)
  local first, at_ms = last_attempt(record)
  if from ~= 'running' or not first or record.usage_noted == record.attempt then
    note_usage(record, {0, 0, 1, 0, 0, 0})
    return
  end
  local input, output = used_by_attempt(id, record, first, 1, usage)
  note_usage(record, {input, output, 1, 1, status == 'succeeded' and 0 or 1, NOW - at_ms})
end

-- Notes the usage of an attempt that is lost or handed back, while its job has not ended.
local function note_lost_attempt(id)
  --[[LIBRARY]]
  local record = fields(id, 'owner', 'model', 'credential', 'attempts', 'attempt_first', 'last', 'prefix_bytes', 'earlier_bytes')
  local first, at_ms = last_attempt(record)
  if not first then return end
  local input, output = used_by_attempt(id, record, first, 0)
  note_usage(record, {input, output, 0, 1, 1, NOW - at_ms})
end

-- The refusal of a submit beyond a budget: nil, or {quota_exceeded, id, NOW, day or month, whose budget it is (owner,
-- credential), the budget, the tokens used}. `budgets` are those of the owner for a day and a month, and the credential's.
local function budget_refusal(id, owner, credential, budgets)
  --[[LIBRARY]]
  local month, day = month_and_day()
  local names = {'day ' .. day, 'month', 'day ' .. day .. ' ' .. credential, 'month ' .. credential}
  local used, i = index('HMGET', 'usage:' .. owner .. ':' .. month, unpack(names)), 0
  for budget in string.gmatch(budgets, '%d+') do
    i = i + 1
    local tokens = bounded(used[i], 0, 1e15, 0)
    if tonumber(budget) > 0 and tokens >= tonumber(budget) then
      return {'quota_exceeded', id, NOW, i % 2 == 1 and 'day' or 'month', i <= 2 and 'owner' or 'credential', tonumber(budget), tokens}
    end
  end
end
