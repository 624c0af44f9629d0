-- The ledger of what owners use. `booked` holds one entry per job, and one per batch that is being written:
-- "QUEUED RUNNING BYTES EXPECTED WRITING OWNER BATCH MODEL" ('-' for none). `use` and `use:OWNER` are the sums of the
-- entries. Only `book` changes any of them. Sums are written whole, not by HINCRBY: a Redis that loads a file which a
-- crash has cut in the middle of a transaction may run it twice.
local FIGURES = {'queued', 'running', 'bytes', 'expected', 'writing'}
local NOTHING = {0, 0, 0, 0, 0}
local JOB_BYTES = 1400
local OUTPUT_UNKNOWN = 32768
local OUTPUT_AT_MOST = 262144
local MEMORY_KNOWN_MS = 10000
local ENTRY = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (.+)$'

-- What this call has read, or written, of the sums and of the average output of models.
local sums = {}
local averages = {}

-- Something else stood in the place of a part of the ledger: the keeper fills it again from the jobs' records.
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
  notice('the ledger of what owners use was damaged; it is filled again from the jobs')
end

local function ledger(command, name, ...)
  local reply = redis.pcall(command, P .. name, ...)
  local text = error_of(reply)
  if not text then return reply end
  if not string.find(text, 'WRONGTYPE', 1, true) then error(text) end
  reset_ledger()
  return redis.call(command, P .. name, ...)
end

-- An entry as it is stored: its figures, and whose they are ({owner, batch ('' for none), model}; nil without an entry).
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

-- The sums of all owners (`use`) or of one (`use:OWNER`), as FIGURES says.
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

-- Answers whether the sums can be those of the entries.
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

-- Most figures are 0 or 1, and Lua takes as long to write a number as for a command.
local function as_text(figures)
  local parts = {}
  for i = 1, #FIGURES do
    parts[i] = figures[i] == 0 and '0' or figures[i] == 1 and '1' or figures[i]
  end
  return table.concat(parts, ' ')
end

-- Sets the entry of a job, where it was `before`; without `after` it has none any more.
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

-- What the output of a model's jobs takes lately, on average; nil where none has ended.
local function average_output(model)
  averages[model] = averages[model] or {bounded(index('HGET', 'output-bytes', model), 1, 1e12)}
  return averages[model][1]
end

-- Small changes are not worth a write.
local function note_output(model, bytes)
  local average = average_output(model) or bytes
  local new = math.ceil(average + (bytes - average) / 10)
  if not average_output(model) or math.abs(new - average) > average / 50 then
    averages[model] = {new}
    index('HSET', 'output-bytes', model, new)
  end
end

-- What the output of a job takes in Redis: half as much again as lately on average, and at most what `at_most` says.
local function expected_output(model, at_most)
  local average = average_output(model)
  local most = at_most > 0 and math.min(at_most, OUTPUT_AT_MOST)
  if not average then return most or OUTPUT_UNKNOWN end
  return math.min(most or OUTPUT_AT_MOST, math.ceil(average * 1.5))
end

-- The same where it is about to be written: rather too much than too little, but no caller's word counts without bound.
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

-- Books a job's new state. `at_most` is what its output takes at most; 0: not known.
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

-- What the keeper found at its last beat: used, max, claims_until, and bytes of `use` then; nil where there is no limit,
-- or it is not known.
local function memory_now()
  local found = index('HMGET', 'memory', 'used', 'max', 'claims_until', 'bytes', 'at_ms')
  local used, max = bounded(found[1], 0, 1e15), bounded(found[2], 0, 1e15, 0)
  if not used or max == 0 or math.abs(NOW - bounded(found[5], 0, 1e15, 0)) > MEMORY_KNOWN_MS then return nil end
  local use = sums_of('use')
  local bytes = use[3]
  return {
    max = max, claims_until = bounded(found[3], 0, 1e15, max), used = used + bytes - bounded(found[4], 0, 1e15, bytes),
    expected = use[4], writing = use[5],
  }
end

-- Why so much more cannot be accepted of an owner, in a word; nil if it can. `more` has queued, bytes and expected;
-- `limits` queued, owner_queued, owner_bytes, share and watermark, each 0 for none.
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

-- How many jobs of one owner may run at a time, or nil. Webs write `limits`, workers say how many slots they have.
local function running_limit()
  local set = index('HMGET', 'limits', 'owner_running', 'owner_share')
  local most, share = bounded(set[1], 1, 1e9), bounded(set[2], 0, 1, 0)
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
