#!lua flags=allow-oom
-- Registers a web, and after a restart of Redis compares what it has read of batches with their logs.
-- Arguments:
--   web        its name, which no other process ever has
--   known_run  run_id of the server at its last call; '' if it knows none
--   life_ms    how long it stays registered
--   is_all     1: with the last ones, it has reported all that it has read on earlier runs
--   seen       batches, each with the id of the last entry of its log that the web has read
-- Answers {run_id of the server, 1 if the web is to report}.
-- A call that is sent again after a restart describes an earlier moment: it does not confirm the web.
--[[ARGUMENTS web known_run life_ms:number is_all:flag seen...]]
meet_webs()
index('ZREMRANGEBYSCORE', 'batch-webs', '-inf', NOW)
index('ZADD', 'batch-webs', NOW + life_ms, web)
for i = seen_at, #ARGV, 2 do
  local key, id = P .. 'batch:' .. ARGV[i], tonumber(ARGV[i + 1])
  local its = fields_if_any(key, 'run_id', 'last', 'history_lost')
  if its.run_id and bounded(its.last, 0, 1e14, 0) < id then
    redis.call('HSET', key, 'history_lost', math.max(id, bounded(its.history_lost, 0, 1e14, 0)))
  end
end
if is_all and known_run == RUN_ID then index('SREM', 'unconfirmed-webs', web) end
return {RUN_ID, index('SISMEMBER', 'unconfirmed-webs', web)}
