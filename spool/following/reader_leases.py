"""Jobs that are to end with their last reader: each process says now and then which of them are read here. The keeper
cancels those that nobody has named in time, so readers count over all instances."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from spool.errors import StoreUnavailable
from spool.following.feed import Feed
from spool.jobs.job import shard_of
from spool.jobs.scripts import script
from spool.outage import Outage
from spool.redis.link import RedisLink

log = logging.getLogger("spool.watches")

WATCH_GRACE_S = 15.0
"""How long a job that is to end with its last reader goes on after it left."""


class ReaderLeases:
    """What one process says."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._next_at = float("-inf")
        self._renewed_at = float("-inf")
        self._outage = Outage(log, "watches", "jobs that end with their last reader may end although they are read")

    def renew(self, now: float, feeds: Iterable[Feed]) -> None:
        """Name the jobs that have a reader, if it is time (monotonic ``now``)."""
        if now < self._next_at:
            return
        self._next_at = now + WATCH_GRACE_S / 3
        since, self._renewed_at = self._renewed_at, now
        watched: dict[int, list[str]] = {}
        for feed in feeds:
            # A poller counts that was here since the last time, if not at this very moment.
            if feed.watched and (feed.readers or feed.left_at >= since):
                watched.setdefault(shard_of(feed.job_id) or 0, []).append(feed.job_id)
        for shard, job_ids in watched.items():
            try:
                self._link.run(script("watch"), shard, round(WATCH_GRACE_S * 1000), *job_ids)
            except StoreUnavailable as exc:
                self._outage.failed(exc)
            else:
                self._outage.worked()
