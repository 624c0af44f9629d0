-- The server's run: which records and workers are from before a restart of Redis.
-- The run_id of the server. A record written on an earlier run may have lost its last second.
local known_run_id
local function run_id()
  if not known_run_id then
    -- Plain search, because a pattern takes as long as the rest of a heartbeat.
    local server = redis.call('INFO', 'server')
    local _, at = string.find(server, 'run_id:', 1, true)
    known_run_id = string.match(server, '^%w+', at + 1)
  end
  return known_run_id
end

-- On the first call on a new run of the server, marks all known workers as unconfirmed (`unconfirmed_workers`). A worker counts as
-- confirmed once it reports, on this run, that all its claims are there again.
local function meet_server()
  if index('HGET', 'server', 'run_id') ~= run_id() then
    index('HSET', 'server', 'run_id', run_id(), 'since_ms', NOW)
    redis.call('DEL', P .. 'unconfirmed_workers')
    for _, worker in ipairs(index('ZRANGE', 'workers', 0, -1)) do
      index('SADD', 'unconfirmed_workers', worker)
    end
  end
end
