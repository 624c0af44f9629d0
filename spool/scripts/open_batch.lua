#!lua
-- Opens a batch, or does nothing if it is open already. ARGV: id, owner, total, ttl_s.
local key = P .. 'batch:' .. ARGV[1]
if redis.call('EXISTS', key) == 0 then
  redis.call('HSET', key, 'id', ARGV[1], 'owner', ARGV[2], 'total', ARGV[3], 'ttl_s', ARGV[4], 'created_ms', NOW)
end
return 1
