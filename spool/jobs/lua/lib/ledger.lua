-- The ledger of the owners' usage, one hash: `ledger` has an entry for each job, each block, and each batch that is being
-- written, and the sums of the entries: `sum` of all, `sum:OWNER` of an owner's. Only `book` changes it.
-- A value is a packed list: queued, running, bytes, expected, writing, and in an entry owner, batch ('' for none) and
-- model. As text, it would take Lua as long as the commands. Later versions append values; a missing one counts as 0.
-- Sums are written as absolute values, not by HINCRBY: after a crash within a transaction, Redis may run it twice when
-- it loads its file.
local FIGURES = 5
local NOTHING = {0, 0, 0, 0, 0}
local ALL = 'sum'
local JOB_BYTES = 1400
local OUTPUT_UNKNOWN = 32768
local OUTPUT_AT_MOST = 262144
local MEMORY_KNOWN_MS = 10000

-- Cache of the ledger's values and of the models' average output, as this call has read or written them.
local known_figures = {}
local known_whose = {}
local averages = {}

-- Clears a damaged ledger; the keeper rebuilds it from the jobs' records.
local function reset_ledger()
  --[[LIBRARY]]
  known_figures, known_whose = {}, {}
  redis.call('DEL', P .. 'ledger')
  redis.call('SET', P .. 'reindex', 0)
  notice('the ledger of the owners was damaged; it is rebuilt from the jobs')
end

local function ledger(command, ...)
  local reply = redis.pcall(command, P .. 'ledger', ...)
  local text = error_of(reply)
  if not text then return reply end
  if not string.find(text, 'WRONGTYPE', 1, true) then error(text) end
  reset_ledger()
  return redis.call(command, P .. 'ledger', ...)
end

local function unpacked(value)
  local queued, running, bytes, expected, writing, owner, batch, model = cmsgpack.unpack(value)
  -- Additions and concatenations raise for a value of another type.
  return {queued + 0, running + 0, bytes + 0, expected + 0, writing + 0},
    owner and {owner = owner .. '', batch = batch .. '', model = model .. ''}
end

-- Decodes a stored value: its figures, and {owner, batch, model} of an entry. A missing or damaged value is nothing.
local function read_entry(value)
  local ok, figures, whose
  if value then
    ok, figures, whose = pcall(unpacked, value)
  end
  if ok then return figures, whose end
  return {0, 0, 0, 0, 0}, nil
end

-- Reads these fields of the ledger into the cache; those that are not there yet, in one call.
local function read_ledger(...)
  local missing = {}
  for _, name in ipairs({...}) do
    if not known_figures[name] then missing[#missing + 1] = name end
  end
  if not missing[1] then return end
  local values = ledger('HMGET', unpack(missing))
  for i, name in ipairs(missing) do
    known_figures[name], known_whose[name] = read_entry(values[i])
  end
end

-- The entry of a job: its figures, and whose it is, nil without an entry.
local function booked(id)
  read_ledger(id)
  return known_figures[id], known_whose[id]
end

local function sum_of_all()
  read_ledger(ALL)
  return known_figures[ALL]
end

-- The sum of an owner's entries. Reads the sum of all as well, since callers need both.
local function sum_of(owner)
  local name = ALL .. ':' .. owner
  read_ledger(name, ALL)
  return known_figures[name]
end

local function packed_entry(figures, whose)
  local queued, running, bytes, expected, writing = unpack(figures)
  if not whose then return cmsgpack.pack(queued, running, bytes, expected, writing) end
  return cmsgpack.pack(queued, running, bytes, expected, writing, whose.owner, whose.batch, whose.model)
end

-- Adds the difference of two entries to a sum. Answers whether the sum is now empty, and whether it became negative, so
-- that it is not the sum of the entries.
local function add_up(figures, before, after)
  local is_empty, is_negative = true, false
  for i = 1, FIGURES do
    local figure = figures[i] + after[i] - before[i]
    figures[i] = figure
    is_empty = is_empty and figure == 0
    is_negative = is_negative or figure < 0
  end
  return is_empty, is_negative
end

-- Replaces a job's entry `before` by `after`, and updates the sums; without `after`, deletes the entry. `who` has owner,
-- batch and model.
local function book(id, who, before, after)
  local own, values, gone, is_damaged = ALL .. ':' .. who.owner, {}, {}, false
  read_ledger(own, ALL)
  if after then
    values = {id, packed_entry(after, who)}
  else
    gone = {id}
  end
  for _, name in ipairs({ALL, own}) do
    local figures = known_figures[name]
    local is_empty, is_negative = add_up(figures, before, after or NOTHING)
    is_damaged = is_damaged or is_negative
    if is_empty then
      gone[#gone + 1] = name
    else
      values[#values + 1], values[#values + 2] = name, packed_entry(figures)
    end
  end
  if gone[1] then ledger('HDEL', unpack(gone)) end
  if values[1] then ledger('HSET', unpack(values)) end
  known_figures[id], known_whose[id] = after or NOTHING, after and who
  if is_damaged then reset_ledger() end
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
  -- One call reads all that `book` will need.
  read_ledger(id, ALL .. ':' .. who.owner, ALL)
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
  local use = sum_of_all()
  local bytes = use[3]
  return {
    max = max, claims_until = bounded(found.claims_until, 0, 1e15, max), used = used + bytes - bounded(found.bytes, 0, 1e15, bytes),
    expected = use[4], writing = use[5],
  }
end

-- The reason, as one word, for refusing more jobs of an owner; nil to accept. `more` has queued, bytes and expected;
-- `limits` has queued, owner_queued, owner_bytes, share and watermark. Each limit except queued may be 0 for none.
local function refusal_of(owner, more, limits)
  local use = sum_of(owner)
  local ahead = more.bytes + more.expected
  if limits.owner_queued > 0 and use[1] + more.queued > limits.owner_queued then
    return 'owner_full'
  end
  if sum_of_all()[1] + more.queued > limits.queued then
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
