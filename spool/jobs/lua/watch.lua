#!lua flags=allow-oom
-- Renews the reader leases of jobs that end with their last reader.
--[[ARGUMENTS grace_ms jobs...]]
for i = jobs_at, #ARGV do
  index('ZADD', 'reader_leases', 'XX', NOW + grace_ms, ARGV[i])
end
return 1
