#!lua flags=allow-oom
-- What one owner may have, as this web's settings say: for claims, which a worker makes. ARGV: names and values of fields.
index('HSET', 'limits', unpack(ARGV))
return 1
