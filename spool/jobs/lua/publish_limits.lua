#!lua flags=allow-oom
-- Stores the limits of one owner from this web's settings, for claims by workers. ARGV: names and values of fields.
index('HSET', 'limits', unpack(ARGV))
return 1
