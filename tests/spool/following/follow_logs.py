"""Follows logs as a web process does, for ``test_follower``: gevent has to patch a process before anything else.

Usage: ``follow_logs.py REDIS_URL``. A line on stdin, ``JOB AFTER``, begins to follow a job; a line on stdout is a JSON
list, ``[JOB, what]``: an entry's id, ``"gap"``, ``"ended"``.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402

from spool.following.follower import Follower  # noqa: E402
from spool.jobs.shards import Shards  # noqa: E402
from spool.jobs.store import JobStore  # noqa: E402
from spool.redis.link import RedisLink  # noqa: E402


def follow(follower: Follower, store: JobStore, job_id: str, after: int) -> None:
    """Print what a reader of this log sees."""
    job = store.look(job_id, "alice")
    with follower.attach(job, after) as reader:
        print(json.dumps([job_id, "attached"]), flush=True)
        while True:
            rows, gap, ended = reader.take_rows(1000)
            said = (["gap"] if gap is not None else []) + [entry_id for entry_id, _raw in rows]
            for what in [*said, *(["ended"] if ended else [])]:
                print(json.dumps([job_id, what]), flush=True)
            if ended:
                return
            if not rows:
                reader.wait()


def main(url: str) -> None:
    """Follow what stdin names, until it closes."""
    follower = Follower(RedisLink(url, connections=2, name="follower-under-test"), tick_s=0.05)
    follower.start()
    store = JobStore(Shards.on(RedisLink(url, connections=1, name="store-under-test")))
    for line in FileObject(sys.stdin.buffer, "rb"):
        job_id, after = line.decode().split()
        gevent.spawn(follow, follower, store, job_id, int(after))


main(sys.argv[1])
