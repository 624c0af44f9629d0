"""The wait of one client for a job's end."""

from __future__ import annotations

import time
from contextlib import closing

from flask import request

from spool.jobs.job import Job
from web.delivery.peer import Peer
from web.services import State


def wait_for_end(services: State, job: Job, wait_s: float) -> bool:
    """Whether the job ends within ``wait_s``. Stops early if the client disconnects or this process drains. Raises
    ``TooManyStreams``, ``StoreUnavailable``."""
    until = time.monotonic() + wait_s
    peer = Peer(request.environ)
    with services.slots.one(job.owner), services.follower.attach(job, job.last_entry) as reader, closing(peer):
        peer.watch(reader.wake)
        while not reader.must_leave and not peer.gone:
            rows, _gap, ended = reader.take_rows(1000)
            if ended:
                return True
            left_s = until - time.monotonic()
            if left_s <= 0:
                return False
            if not rows:
                reader.wait(left_s)
    return False
