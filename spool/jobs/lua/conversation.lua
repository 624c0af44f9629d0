#!lua flags=no-writes,allow-stale
-- Answers the messages of the blocks at the beginning of a job's conversation, last block first. ARGV: id.
local record = redis.pcall('HMGET', job_key(ARGV[1]), 'owner', 'before')
return not error_of(record) and record[1] and record[2] and read_blocks(record[1], record[2]) or {}
