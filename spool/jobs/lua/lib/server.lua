-- The server's run: which records and workers are from before a restart of Redis.
-- The run_id of the server, which is part of the script's text (spool.redis.script). A record written on an earlier run
-- may have lost its last second.
local RUN_ID = '--[[RUN_ID]]'

-- On the first call on a new run of the server, marks all known workers as unconfirmed (`unconfirmed_workers`). A worker counts as
-- confirmed once it reports, on this run, that all its claims are there again.
local function meet_server()
  if index('HGET', 'server', 'run_id') ~= RUN_ID then
    index('HSET', 'server', 'run_id', RUN_ID, 'since_ms', NOW)
    redis.call('DEL', P .. 'unconfirmed_workers')
    for _, worker in ipairs(index('ZRANGE', 'workers', 0, -1)) do
      index('SADD', 'unconfirmed_workers', worker)
    end
  end
end

-- On the first call on a new run, marks all known webs as unconfirmed (`unconfirmed-webs`). A web counts as confirmed once it
-- has reported, on this run, the last entry of each batch's log that it has read (confirm_batches).
local function meet_webs()
  if index('HGET', 'server', 'webs_run') == RUN_ID then return end
  index('HSET', 'server', 'webs_run', RUN_ID, 'webs_since_ms', NOW)
  redis.call('DEL', P .. 'unconfirmed-webs')
  for _, web in ipairs(index('ZRANGE', 'batch-webs', 0, -1)) do index('SADD', 'unconfirmed-webs', web) end
end
