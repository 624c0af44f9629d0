#!lua flags=allow-oom
-- Writes fields of a webhook endpoint, in the first shard.
-- Arguments: most is the most endpoints of the owner, or 0 if the endpoint must exist; enabled is 1 if it gets its events
-- from now on, 0 if it gets none, '' if that does not change; then names and values of fields.
-- Allowed without memory: an endpoint must be disabled then, and an owner has few.
-- Answers written, full or missing. The same call again, after its answer was lost, does the same.
--[[ARGUMENTS id owner most:number created_ms enabled events fields...]]
local key, of_owner = P .. 'endpoint:' .. id, 'owner-endpoints:' .. owner
local has = redis.call('EXISTS', key) == 1
if not has and most == 0 then
  return 'missing'
elseif not has and index('ZCARD', of_owner) >= most then
  return 'full'
end
redis.call('HSET', key, unpack(ARGV, fields_at))
if not has then index('ZADD', of_owner, created_ms, id) end
if enabled ~= '' then publish_endpoint(id, owner, enabled == '1', events) end
return 'written'
