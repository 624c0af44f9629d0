#!lua flags=no-writes,allow-stale
-- Answers the messages of the blocks at the beginning of a job's conversation, last block first.
--[[ARGUMENTS id]]
local record = fields_if_any(job_key(id), 'owner', 'before')
return record.owner and record.before and read_blocks(record.owner, record.before) or {}
