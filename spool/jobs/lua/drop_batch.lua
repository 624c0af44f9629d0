#!lua flags=allow-oom
-- Forgets some jobs of a staged batch that is given up. ARGV: id, how many at most. Answers how many are left; -1 where the
-- batch is complete, and stays.
return drop_batch(ARGV[1], tonumber(ARGV[2]))
