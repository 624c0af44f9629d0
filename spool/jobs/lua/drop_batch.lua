#!lua flags=allow-oom
-- Deletes some jobs of an abandoned staged batch. ARGV: id, maximum number of jobs.
-- Answers the number of jobs left; -1 if the batch is complete, and stays.
return drop_batch(ARGV[1], tonumber(ARGV[2]))
