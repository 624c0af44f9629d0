-- The ledger as earlier versions write it: `booked`, with entries "QUEUED RUNNING BYTES EXPECTED WRITING OWNER BATCH MODEL"
-- ('-' for no batch), and its sums in the hashes `use` and `use:OWNER`. While such versions run beside this one, they
-- write there the changes that they make.
local OLD_FIGURES = {'queued', 'running', 'bytes', 'expected', 'writing'}
local OLD_ENTRY = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (.+)$'

local function subtract(name, figures)
  local found, left, is_empty = index('HMGET', name, unpack(OLD_FIGURES)), {}, true
  for i, figure in ipairs(OLD_FIGURES) do
    local rest = math.max(0, bounded(found[i], 0, 1e15, 0) - figures[i])
    left[2 * i - 1], left[2 * i] = figure, rest
    is_empty = is_empty and rest == 0
  end
  if is_empty then
    redis.call('DEL', P .. name)
  else
    index('HSET', name, unpack(left))
  end
end

-- Removes about `most` entries from the old ledger. Answers by job, batch or block its figures and {owner, batch, model}.
local function take_old_entries(most)
  --[[LIBRARY]]
  local taken, page = {}, index('HSCAN', 'booked', '0', 'COUNT', most)[2]
  for i = 1, #page, 2 do
    local queued, running, bytes, expected, writing, owner, batch, model = string.match(page[i + 1], OLD_ENTRY)
    index('HDEL', 'booked', page[i])
    if owner then
      local figures = {tonumber(queued), tonumber(running), tonumber(bytes), tonumber(expected), tonumber(writing)}
      subtract('use', figures)
      subtract('use:' .. owner, figures)
      taken[page[i]] = {figures = figures, who = {owner = owner, batch = batch ~= '-' and batch or '', model = model}}
    end
  end
  return taken
end
