-- The ledger of the owners' usage. `booked` has one entry per job, per block, and per batch that is being written:
-- "QUEUED RUNNING BYTES EXPECTED WRITING OWNER BATCH MODEL" ('-' for none). `use` and `use:OWNER` are the sums of the
-- entries. Only `book` changes them. Sums are written as absolute values, not by HINCRBY: after a crash within a
-- transaction, Redis may run it twice when it loads its file.
local FIGURES = {'queued', 'running', 'bytes', 'expected', 'writing'}
local NOTHING = {0, 0, 0, 0, 0}
local JOB_BYTES = 1400
local OUTPUT_UNKNOWN = 32768
local OUTPUT_AT_MOST = 262144
local MEMORY_KNOWN_MS = 10000
local ENTRY = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (.+)$'

-- Cache of the sums and of the models' average output, as this call has read or written them.
local sums = {}
local averages = {}

-- Clears a damaged ledger; the keeper rebuilds it from the jobs' records.
local function reset_ledger()
  --[[LIBRARY]]
  local cursor = '0'
  repeat
    local page = redis.call('SCAN', cursor, 'MATCH', string.gsub(P, '[%[%]%?%*\\]', '\\%0') .. 'use*', 'COUNT', 1000)
    cursor = page[1]
    for _, key in ipairs(page[2]) do redis.call('DEL', key) end
  until cursor == '0'
  sums = {}
  redis.call('DEL', P .. 'booked')
  redis.call('SET', P .. 'reindex', 0)
  notice('the ledger of the owners was damaged; it is rebuilt from the jobs')
end

local function ledger(command, name, ...)
  local reply = redis.pcall(command, P .. name, ...)
  local text = error_of(reply)
  if not text then return reply end
  if not string.find(text, 'WRONGTYPE', 1, true) then error(text) end
  reset_ledger()
  return redis.call(command, P .. name, ...)
end

-- Decodes a stored entry: its figures, and {owner, batch ('' for none), model}, nil without an entry.
local function read_entry(entry)
  local queued, running, bytes, expected, writing, owner, batch, model = string.match(entry, ENTRY)
  if not owner then return NOTHING, nil end
  return {tonumber(queued), tonumber(running), tonumber(bytes), tonumber(expected), tonumber(writing)},
    {owner = owner, batch = batch ~= '-' and batch or '', model = model}
end

-- The entry of a job.
local function booked(id)
  return read_entry(ledger('HGET', 'booked', id) or '')
end

-- The sums of all owners (`use`) or of one (`use:OWNER`), in the order of FIGURES.
local function sums_of(name)
  if not sums[name] then
    local found, figures = ledger('HMGET', name, unpack(FIGURES)), {}
    for i = 1, #FIGURES do
      figures[i] = tonumber(found[i]) or 0
    end
    sums[name] = figures
  end
  return sums[name]
end

-- Adds the difference of two entries to a sum. Answers false if the sum became negative, so that it is not the sum of
-- the entries.
local function add_up(name, before, after)
  local figures, values, is_empty, is_whole = sums_of(name), {}, true, true
  for i = 1, #FIGURES do
    if after[i] ~= before[i] then
      figures[i] = figures[i] + after[i] - before[i]
      is_whole = is_whole and figures[i] >= 0
      values[#values + 1], values[#values + 2] = FIGURES[i], figures[i]
    end
    is_empty = is_empty and figures[i] == 0
  end
  if is_empty then
    redis.call('DEL', P .. name)
  elseif #values > 0 then
    ledger('HSET', name, unpack(values))
  end
  return is_whole
end

-- Most figures are 0 or 1, and Lua takes as long to format a number as to run a command.
local function as_text(figures)
  local parts = {}
  for i = 1, #FIGURES do
    parts[i] = figures[i] == 0 and '0' or figures[i] == 1 and '1' or figures[i]
  end
  return table.concat(parts, ' ')
end

-- Replaces a job's entry `before` by `after`; without `after`, deletes the entry.
local function book(id, who, before, after)
  if after then
    local whose = who.owner .. ' ' .. (who.batch ~= '' and who.batch or '-') .. ' ' .. who.model
    ledger('HSET', 'booked', id, as_text(after) .. ' ' .. whose)
  else
    ledger('HDEL', 'booked', id)
  end
  local is_whole = add_up('use', before, after or NOTHING)
  if not add_up('use:' .. who.owner, before, after or NOTHING) or not is_whole then
    reset_ledger()
  end
end

local function unbook(id)
  local before, who = booked(id)
  if who then
    book(id, who, before)
  end
end

-- The recent average size of the output of a model's jobs, in bytes; nil before the first one ends.
local function average_output(model)
  averages[model] = averages[model] or {bounded(index('HGET', 'output-bytes', model), 1, 1e12)}
  return averages[model][1]
end

-- Updates the average output of a model. Skips small changes, which are not worth a write.
local function note_output(model, bytes)
  local average = average_output(model) or bytes
  local new = math.ceil(average + (bytes - average) / 10)
  if not average_output(model) or math.abs(new - average) > average / 50 then
    averages[model] = {new}
    index('HSET', 'output-bytes', model, new)
  end
end

-- The expected size of a job's output in Redis, in bytes: 1.5 times the recent average, and at most `at_most`.
local function expected_output(model, at_most)
  local average = average_output(model)
  local most = at_most > 0 and math.min(at_most, OUTPUT_AT_MOST)
  if not average then return most or OUTPUT_UNKNOWN end
  return math.min(most or OUTPUT_AT_MOST, math.ceil(average * 1.5))
end

-- The size to reserve for a job that starts. Rather too high than too low, but a caller's `at_most` is bounded.
local function output_to_write(model, at_most)
  if at_most <= 0 then return expected_output(model, 0) end
  return math.min(at_most, math.max(OUTPUT_AT_MOST, math.ceil((average_output(model) or 0) * 4)))
end

local function size_of(key)
  local size = redis.pcall('MEMORY', 'USAGE', key)
  return type(size) == 'number' and size or 0
end

local function output_of(id)
  return size_of(job_key(id) .. ':log') + size_of(job_key(id) .. ':text')
end

-- Books a job's new state. `at_most` is the maximum size of its output in bytes; 0: unknown.
local function book_state(id, who, from, to, at_most)
  local before = booked(id)
  local bytes, ahead, figures = before[3], before[4] + before[5], nil
  if to == 'queued' then
    figures = {1, 0, bytes, ahead, 0}
  elseif to == 'running' then
    figures = {0, 1, bytes, 0, output_to_write(who.model, at_most)}
  else
    local output = output_of(id)
    if from == 'running' then
      note_output(who.model, output)
    end
    figures = {0, 0, bytes + output, 0, 0}
  end
  book(id, who, before, figures)
end

-- An estimate of memory now, from the keeper's last beat and the ledger's changes since: max, claims_until, used,
-- expected and writing. Nil if there is no limit, or the figures are missing or too old.
local function memory_now()
  local found = index_fields('memory', 'used', 'max', 'claims_until', 'bytes', 'at_ms')
  local used, max = bounded(found.used, 0, 1e15), bounded(found.max, 0, 1e15, 0)
  if not used or max == 0 or math.abs(NOW - bounded(found.at_ms, 0, 1e15, 0)) > MEMORY_KNOWN_MS then return nil end
  local use = sums_of('use')
  local bytes = use[3]
  return {
    max = max, claims_until = bounded(found.claims_until, 0, 1e15, max), used = used + bytes - bounded(found.bytes, 0, 1e15, bytes),
    expected = use[4], writing = use[5],
  }
end

-- The reason, as one word, for refusing more jobs of an owner; nil to accept. `more` has queued, bytes and expected;
-- `limits` has queued, owner_queued, owner_bytes, share and watermark. Each limit except queued may be 0 for none.
local function refusal_of(owner, more, limits)
  local use = sums_of('use:' .. owner)
  local ahead = more.bytes + more.expected
  if limits.owner_queued > 0 and use[1] + more.queued > limits.owner_queued then
    return 'owner_full'
  end
  if sums_of('use')[1] + more.queued > limits.queued then
    return 'full'
  end
  local memory = limits.watermark > 0 and memory_now()
  local most = limits.owner_bytes
  if most == 0 and memory and limits.share > 0 then
    most = limits.share * limits.watermark * memory.max
  end
  if most > 0 and use[3] + use[4] + use[5] + ahead > most then
    return 'owner_bytes'
  end
  if memory and memory.used + memory.expected + memory.writing + ahead > limits.watermark * memory.max then
    return 'no_memory'
  end
end

-- The limit of running jobs of one owner; nil without a limit. Webs write `limits`, workers report their slots.
local function running_limit()
  local set = index_fields('limits', 'owner_running', 'owner_share')
  local most, share = bounded(set.owner_running, 1, 1e9), bounded(set.owner_share, 0, 1, 0)
  if most then return most end
  if share <= 0 or share >= 1 then return nil end
  local slots = 0
  for _, capacity in ipairs(index('HVALS', 'capacity')) do
    slots = slots + bounded(capacity, 0, 1e6, 0)
  end
  return slots > 0 and math.max(1, math.floor(share * slots)) or nil
end

local function is_at_limit(owner, limit)
  return limit ~= nil and sums_of('use:' .. owner)[2] >= limit
end
