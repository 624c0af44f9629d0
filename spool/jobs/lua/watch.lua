#!lua flags=allow-oom
-- Renews the reader leases of jobs that end with their last reader. ARGV: grace_ms, ids.
for i = 2, #ARGV do
  index('ZADD', 'watched', 'XX', NOW + ARGV[1], ARGV[i])
end
return 1
