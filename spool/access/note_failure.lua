#!lua flags=allow-oom
-- Counts a failed login of an address. The window is the same for all addresses and begins with its first failure.
-- Arguments: address, length of the window in ms, the most addresses.
-- Answers {failures of the address, ms until the window is over}; 0 failures: it is not counted, as the key has
-- another type, or counts as many addresses as it may.
local key, address = KEYS[1] .. 'failed-logins', ARGV[1]
local size = redis.pcall('HLEN', key)
if type(size) == 'table' then return {0, tonumber(ARGV[2])} end
if size >= tonumber(ARGV[3]) and redis.call('HEXISTS', key, address) == 0 then
  return {0, redis.call('PTTL', key)}
end
local failures = redis.call('HINCRBY', key, address, 1)
if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[2]) end
return {failures, redis.call('PTTL', key)}
