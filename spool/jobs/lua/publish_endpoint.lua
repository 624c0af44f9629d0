#!lua flags=allow-oom
-- Tells a shard whether a webhook endpoint gets events, and which. What is outstanding to one that gets none becomes due,
-- and ends. Allowed without memory: an endpoint may be disabled and deleted then, and an owner has few.
--[[ARGUMENTS id owner is_enabled:flag events]]
publish_endpoint(id, owner, is_enabled, events)
return 'published'
