#!lua
-- Tells a shard whether a webhook endpoint gets events, and which. What is outstanding to one that gets none becomes due,
-- and ends.
--[[ARGUMENTS id owner is_enabled:flag events]]
publish_endpoint(id, owner, is_enabled, events)
return 'published'
