#!lua flags=allow-oom
-- Writes a piece of the packed log of a batch, which is not in its place yet. Renews the lease, and the expiry of what is staged.
-- Nothing is written if the pieces before this one have expired: pack_batch then finds the log too short.
-- Arguments: attempt names the staged log, which no other packer has; at is the piece's position in it, in bytes; after_ms and
-- lease_ms as in take_unpacked.
--[[ARGUMENTS id attempt at:number after_ms:number lease_ms:number data]]
local staged = P .. 'batch:' .. id .. ':packed:' .. attempt
if redis.call('STRLEN', staged) < at then return end
redis.call('SETRANGE', staged, at, data)
redis.call('PEXPIRE', staged, lease_ms)
index('ZADD', 'unpacked-batches', 'XX', NOW - after_ms + lease_ms, id)
