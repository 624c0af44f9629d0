#!lua flags=allow-oom
-- Somebody reads these jobs, which want to be cancelled when nobody does. ARGV: grace_ms, ids.
for i = 2, #ARGV do
  index('ZADD', 'watched', 'XX', NOW + ARGV[1], ARGV[i])
end
return 1
