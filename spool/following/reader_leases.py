"""Reader leases, for jobs that are cancelled when their last reader leaves.

Each process regularly renews the leases of the jobs that are read here. The keeper cancels jobs whose lease expired, so
readers on all instances count.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from spool.errors import StoreUnavailable
from spool.following.feed import Feed
from spool.ids import shard_of
from spool.jobs.scripts import script
from spool.outage import Outage
from spool.redis.link import RedisLink

log = logging.getLogger("spool.watches")

WATCH_GRACE_S = 15.0
"""How long such a job continues after its last reader left."""


class ReaderLeases:
    """The leases that one process renews."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._next_at = float("-inf")
        self._renewed_at = float("-inf")
        self._outage = Outage(log, "watches", "jobs with on_disconnect=cancel may be cancelled although they are read")

    def renew(self, now: float, feeds: Iterable[Feed]) -> None:
        """Renew the leases of jobs with a reader, if that is due at ``now`` (monotonic)."""
        if now < self._next_at:
            return
        self._next_at = now + WATCH_GRACE_S / 3
        since, self._renewed_at = self._renewed_at, now
        watched: dict[int, list[str]] = {}
        for feed in feeds:
            # A poller counts if it was here since the last renewal, even if it is absent now.
            if feed.watched and (feed.readers or feed.left_at >= since):
                watched.setdefault(shard_of(feed.job_id), []).append(feed.job_id)
        for shard, job_ids in watched.items():
            try:
                self._link.run(script("watch"), shard, round(WATCH_GRACE_S * 1000), *job_ids)
            except StoreUnavailable as exc:
                self._outage.failed(exc)
            else:
                self._outage.worked()
