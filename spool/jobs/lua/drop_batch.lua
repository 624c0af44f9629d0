#!lua flags=allow-oom
-- Deletes some jobs of an abandoned staged batch. `most`: maximum number of jobs.
-- Answers the number of jobs left; -1 if the batch is complete, and stays.
--[[ARGUMENTS id most:number]]
return drop_batch(id, most)
