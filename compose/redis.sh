#!/bin/sh
# Starts Valkey with its configuration on stdin: the password must not be an argument, because every user of the host
# can list arguments.
exec valkey-server - <<EOF
requirepass "$REDISCLI_AUTH"
dir /data
appendonly yes
appendfsync everysec
save ""
maxmemory 1gb
# Redis must never evict a job's log: Spool refuses submits before memory runs out.
maxmemory-policy noeviction
EOF
