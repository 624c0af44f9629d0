-- A job's log: the entries that scripts append, and whether Redis may have lost some.

-- The server of a line that Redis may have lost as a job, and that was fed again.
local FED_AGAIN = 'fed again'

-- Whether readers may have seen entries of this job that Redis has lost since. Of the record it needs history_lost, server and
-- status. A running job has lost history until its worker confirms the log. A queued job may have been claimed by a worker that
-- is still unconfirmed; and a line that was fed again, by one that has found it missing.
local function has_lost_history(record)
  if record.history_lost then return true end
  if not record.server or record.server == RUN_ID then return false end
  meet_server()
  return record.status == 'running' or index('SCARD', 'unconfirmed_workers') > 0
    or record.server == FED_AGAIN and index('HGET', 'server', 'jobs_lost_on') == RUN_ID
end

-- Encodes JSON as the rest of Spool does: cjson alone would escape slashes.
local function json(value)
  return (string.gsub(cjson.encode(value), '\\/', '/'))
end

-- Days to a civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
local function rfc3339(ms)
  local s = math.floor(ms / 1000)
  local z = math.floor(s / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day,
    math.floor(s / 3600) % 24, math.floor(s / 60) % 60, s % 60, ms % 1000)
end

-- Appends one encoded entry under the id `n`. The caller sets the record's `last`.
local function write_entry(id, n, entry)
  local key = job_key(id)
  local written = redis.pcall('XADD', key .. ':log', n .. '-0', 'entry', entry)
  if type(written) == 'table' and written.err then
    if not string.find(written.err, 'WRONGTYPE', 1, true) then
      error(written.err)
    end
    -- A key of another type is in the log's place. It is deleted, because the job must be able to end; readers see a
    -- gap.
    redis.call('DEL', key .. ':log')
    redis.call('XADD', key .. ':log', n .. '-0', 'entry', entry)
  end
  redis.call('PUBLISH', key .. ':log', n .. '\n' .. entry)
end

local function write(id, n, entry)
  redis.call('HSET', job_key(id), 'last', n)
  write_entry(id, n, entry)
end

-- An entry made by a script. `rest` is JSON: ',"name":value…' or ''.
local function encoded(n, kind, rest)
  return '{"id":' .. n .. ',"kind":"' .. kind .. '","at":"' .. rfc3339(NOW) .. '"' .. rest .. '}'
end

-- Appends one entry made by a script, under `n` or the next id.
local function push(id, kind, rest, n)
  n = n or tonumber(redis.call('HGET', job_key(id), 'last')) + 1
  write(id, n, encoded(n, kind, rest))
end

-- The id of the `restarted` entry that follows lost history: a round number so far ahead that no reader can have seen it.
-- It also grows with the job's age, because a jump itself can be lost. It stays below 10^14, up to which Lua writes
-- integers.
local function id_after_jump(id, last)
  --[[LIBRARY]]
  local age_ms = math.min(NOW - redis.call('HGET', job_key(id), 'created_ms'), 9e8)
  return (math.ceil((last + 500000) / 100000) + age_ms) * 100000
end
