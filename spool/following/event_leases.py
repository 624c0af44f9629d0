"""Leases of events: they are written while a process says that it has readers of them, and for an hour after."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from spool.errors import StoreUnavailable
from spool.following.feed import Feed
from spool.jobs.event_logs import KEPT_S, owner_of_events, watch
from spool.outage import Outage
from spool.redis.link import RedisLink

log = logging.getLogger("spool.events")

RENEWAL_S = KEPT_S / 6
_RETRY_S = 5.0


class EventLeases:
    """The leases that one process renews."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._next_at = float("-inf")
        self._outage = Outage(log, "events", "events may stop being written although they are read")

    def renew(self, now: float, feeds: Iterable[Feed]) -> None:
        """Renew the leases of owners whose events are read here, if that is due at ``now`` (monotonic)."""
        if now < self._next_at:
            return
        self._next_at = now + RENEWAL_S
        owners = [owner for feed in feeds if feed.readers and (owner := owner_of_events(feed.job_id)) is not None]
        if not owners:
            return
        try:
            watch(self._link, owners)
        except StoreUnavailable as exc:
            self._next_at = now + _RETRY_S
            self._outage.failed(exc)
        else:
            self._outage.worked()
