#!lua
-- Opens a batch, or does nothing if it is open already. ARGV: id, owner, total, ttl_s, timeout_ms.
-- It gets an expiry at once, behind that of its last job, so that a batch that is never filled does not stay.
local key = P .. 'batch:' .. ARGV[1]
if redis.call('EXISTS', key) == 0 then
  redis.call('HSET', key, 'id', ARGV[1], 'owner', ARGV[2], 'total', ARGV[3], 'ttl_s', ARGV[4], 'created_ms', NOW)
  redis.call('PEXPIRE', key, ARGV[5] + ARGV[4] * 1000 + TOMBSTONE_MS)
end
return 1
