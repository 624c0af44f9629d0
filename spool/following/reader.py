"""A reader: one client that reads one log. It takes the available entries, and waits for new ones.

The ids alone decide which entry is next, so the transition from replay to live needs no extra care: entries come from
the feed's tail if it has them, otherwise from the stream.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from gevent.event import Event

from spool.following.encoder import Encoder
from spool.following.feed import Feed
from spool.following.replay_cache import Page, ReplayCache
from spool.jobs.entries import is_terminal
from spool.jobs.log import Gap, Row, Run, gap_before, page_of

_EXPELLED = -1.0
"""A time to leave that has always passed, and that no drain sets."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The available entries: a ``gap`` if entries before them are missing, the encoded ``data``, up to entry ``last``.
    ``ended``: no entry follows."""

    data: bytes
    last: int
    gap: Gap | None = None
    ended: bool = False

    @property
    def gone(self) -> bool:
        """Whether the log is over without a readable terminal entry."""
        return self.ended and self.gap is not None and self.gap.earliest is None


@dataclass(frozen=True, slots=True)
class _Stored:
    """Entries that are not in the feed's tail; no ``page``: there are none."""

    page: Page | None
    gap: Gap | None
    ended: bool


class Source(Protocol):
    """The follower, as its readers use it."""

    notice: str | None

    def leave(self, reader: Reader) -> None:
        """Detach the reader."""
        ...

    def read_again(self, feed: Feed, after: int) -> list[Row] | None:
        """The stream's entries after ``after``; None if Redis has lost the end of the log, which is resent."""
        ...


class Reader:
    """Reads one log after ``cursor``. Use it as a context manager, so that it detaches from its feed."""

    __slots__ = (
        "_count",
        "_event",
        "_follower",
        "_pages",
        "cursor",
        "feed",
        "leave_at",
        "on_wake",
        "patient",
        "tick_at",
    )

    def __init__(self, follower: Source, pages: ReplayCache, feed: Feed, cursor: int, *, patient: bool = False) -> None:
        self._follower = follower
        self._pages = pages
        self._event: Event | None = None
        self._count = page_of(feed.job_id)
        self.feed = feed
        self.cursor = cursor
        self.patient = patient
        self.tick_at = float("inf")
        self.leave_at = float("inf")
        """When the reader must leave this draining process (monotonic)."""
        self.on_wake: Callable[[], bool] | None = None
        """Called first on a change. True means that it handled the change, and no ``wait`` needs to end. It must
        neither raise nor block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach from the feed."""
        self._follower.leave(self)

    def expel(self) -> None:
        """Make the reader leave, because its credential is no longer valid."""
        self.leave_at = _EXPELLED
        self.wake()

    @property
    def notice(self) -> str | None:
        """The notice of the operator to all readers."""
        return self._follower.notice

    @property
    def is_expelled(self) -> bool:
        """Whether the reader must leave because its credential is no longer valid."""
        return self.leave_at == _EXPELLED

    @property
    def must_leave(self) -> bool:
        """Whether the reader is expelled, or this process is draining and its time to leave has come."""
        return time.monotonic() >= self.leave_at

    def take_live(self, encoder: Encoder) -> bytes | None:
        """The encoded entries since the cursor if they are in memory; never waits for Redis. Otherwise None, and the
        cursor stays."""
        feed = self.feed
        cursor, last = self.cursor, feed.last
        if cursor < feed.base or cursor >= last or not feed.ready:
            return None
        self.cursor = last
        return feed.encoded(encoder, cursor)

    def live_rows(self, limit: int) -> list[Row] | None:
        """The entries since the cursor as (id, bytes) if they are in memory and at most ``limit``. The cursor stays:
        set it to the last id to take them."""
        feed = self.feed
        cursor, last = self.cursor, feed.last
        if cursor < feed.base or not 0 < last - cursor <= limit or not feed.ready:
            return None
        return feed.rows(cursor)

    def take(self, encoder: Encoder) -> Batch | None:
        """The encoded entries since the cursor, or None. Moves the cursor. Raises ``StoreUnavailable``."""
        feed, cursor = self.feed, self.cursor
        if feed.base <= cursor < feed.last:
            self.cursor = feed.last
            return Batch(feed.encoded(encoder, cursor), feed.last, ended=feed.ended)
        stored = self._stored()
        if stored is None:
            return None
        data = stored.page.encoded(encoder) if stored.page is not None else b""
        return Batch(data, self.cursor, stored.gap, stored.ended)

    def take_rows(self, limit: int) -> tuple[list[Row], Gap | None, bool]:
        """At most ``limit`` entries as (id, bytes), a gap before them, and whether the log ends with them."""
        feed, gap = self.feed, None
        if feed.base <= self.cursor < feed.last:
            entries, ended = feed.rows(self.cursor), feed.ended
        else:
            stored = self._stored()
            if stored is None:
                return [], None, False
            entries, gap, ended = stored.page.rows if stored.page is not None else [], stored.gap, stored.ended
        rows = entries[:limit]
        if rows:
            self.cursor = rows[-1][0]
        return rows, gap, ended and len(rows) == len(entries)

    @property
    def is_behind(self) -> bool:
        """Whether the next entries must be read from Redis."""
        return self.cursor < self.feed.base

    def run_ahead(self) -> Run | None:
        """The next page, if it must be read from Redis and is one run of text; else None. The cursor stays: set it to
        the run's ``last`` to take it. Raises ``StoreUnavailable``, ``UndecodableRecord``."""
        if not self.is_behind:
            return None
        return self._pages.run(self.feed.job_id, self.cursor, self._count, is_packed=self.feed.is_packed)

    def wait(self, seconds: float = math.inf) -> bool:
        """Wait for new entries, at most ``seconds``; ``inf`` waits until the follower's tick, which costs no timer.

        Returns True if there are any. Returns False on an idle tick, at which the caller checks its client, its
        deadline and ``must_leave``.
        """
        if self.has_news():
            return True
        event = self._waited_on()
        event.wait(seconds if seconds < math.inf else None)
        event.clear()
        return self.has_news()

    def wake(self) -> None:
        """Make ``wait`` return, because of new entries, a tick, or a client that left."""
        if self.on_wake is None or not self.on_wake():
            self._waited_on().set()

    def _waited_on(self) -> Event:
        # Created on demand: thousands of idle readers have none.
        if self._event is None:
            self._event = Event()
        return self._event

    def has_news(self) -> bool:
        """Whether ``take`` may return entries or the end."""
        feed = self.feed
        if self.cursor < feed.last:
            return feed.ready or self.cursor < feed.base
        return feed.gone or (feed.ended and feed.ready)

    def _stored(self) -> _Stored | None:
        return self._replay() if self.is_behind else self._at_the_end()

    def _replay(self) -> _Stored | None:
        page = self._pages.read(self.feed.job_id, self.cursor, self._count, is_packed=self.feed.is_packed)
        if not page.rows:
            rows = self._follower.read_again(self.feed, self.cursor)
            if rows is None:
                return None
            page = Page(rows)
        # After a full page, read smaller pages for a while.
        self._count = len(page.rows) if page.full else min(page_of(self.feed.job_id), 2 * self._count)
        gap = gap_before(page.rows, self.cursor, self.feed.last)
        if not page.rows:
            # The stream has none of these entries: continue with the tail in this process, if any.
            has_tail = bool(self.feed.tail)
            earliest = self.feed.base + 1 if has_tail else None
            gap = Gap(self.cursor + 1, earliest, self.feed.last if has_tail else None, self.feed.base)
            self.cursor = self.feed.base
            return _Stored(None, gap, not has_tail and (self.feed.ended or self.feed.gone))
        self.cursor, last = page.rows[-1]
        return _Stored(page, gap, is_terminal(last))

    def _at_the_end(self) -> _Stored | None:
        feed = self.feed
        if feed.gone and not feed.ended:
            return _Stored(None, Gap(self.cursor + 1, None, None, self.cursor), ended=True)
        if not feed.ended:
            return None
        if self.cursor == feed.last:
            return _Stored(None, None, ended=True)
        # The cursor is beyond the end of an ended log: the requested entry will never exist, so return the end.
        requested = self.cursor + 1
        page = self._pages.read(feed.job_id, feed.last - 1, 1, is_packed=feed.is_packed)
        self.cursor = feed.last
        if not page.rows:
            return _Stored(None, Gap(requested, None, None, feed.last), ended=True)
        return _Stored(page, Gap(requested, feed.last, feed.last, feed.last - 1), ended=True)
