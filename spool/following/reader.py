"""A reader: one client reading one log. It asks two questions: what has gathered, and is there anything new.

The ids alone decide what comes next, so that the seam between replay and live needs no care: what the feed's tail
has comes from there, what it has not comes from the stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from gevent.event import Event

from spool.following.encoder import Encoder
from spool.following.feed import Feed
from spool.following.replay_cache import Page, ReplayCache
from spool.jobs.entries import is_terminal
from spool.jobs.log import PAGE, Gap, Row, Run, gap_before


@dataclass(frozen=True, slots=True)
class Batch:
    """What has gathered: a ``gap`` if entries before it are missing, ``data`` encoded, up to entry ``last``.
    ``ended``: nothing comes after it."""

    data: bytes
    last: int
    gap: Gap | None = None
    ended: bool = False

    @property
    def gone(self) -> bool:
        """The log is over without a terminal entry that could still be read."""
        return self.ended and self.gap is not None and self.gap.earliest is None


class _Rows:
    """The format of those who want ids and entries rather than bytes."""

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the protocol's shape
        return raw + b"\n"


ROWS = _Rows()


class Source(Protocol):
    """Where a reader's feed comes from: the follower."""

    def leave(self, reader: Reader) -> None:
        """The reader is gone."""
        ...

    def read_again(self, feed: Feed, after: int) -> list[Row] | None:
        """What the stream has behind ``after``; None if Redis has lost the end of the log, which will come again."""
        ...


class Reader:
    """Reads one log from ``cursor`` on. Used as a context manager, so that its feed knows when it leaves."""

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
        self._count = PAGE
        self.feed = feed
        self.cursor = cursor
        self.patient = patient
        self.tick_at = float("inf")
        self.leave_at = float("inf")
        """When this process wants the reader to go elsewhere (monotonic)."""
        self.on_wake: Callable[[], bool] | None = None
        """Asked first when something is new: True if it has dealt with it, and no ``wait`` needs to end. It must not
        raise and not block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.leave(self)

    @property
    def must_leave(self) -> bool:
        """This process is draining and it is this reader's turn."""
        return time.monotonic() >= self.leave_at

    def take_live(self, encoder: Encoder) -> bytes | None:
        """What has gathered where that is in memory, encoded, without waiting for Redis; else None, and the cursor has
        not moved."""
        feed = self.feed
        cursor, last = self.cursor, feed.last
        if cursor < feed.base or cursor >= last or not feed.ready:
            return None
        self.cursor = last
        return feed.encoded(encoder, cursor)

    def take(self, encoder: Encoder) -> Batch | None:
        """What has gathered since the cursor, encoded, or None. Moves the cursor. Raises ``StoreUnavailable``."""
        feed = self.feed
        if self.cursor < feed.base:
            return self._replay(encoder)
        if self.cursor >= feed.last:
            return self._at_the_end(encoder)
        data = feed.encoded(encoder, self.cursor)
        self.cursor = feed.last
        return Batch(data, self.cursor, ended=feed.ended)

    def take_rows(self, limit: int) -> tuple[list[Row], Gap | None, bool]:
        """At most ``limit`` entries as (id, bytes), a gap before them, and whether the log ends with them."""
        before = self.cursor
        taken = self.take(ROWS)
        if taken is None:
            return [], None, False
        entries = taken.data.split(b"\n")[:-1]
        first = taken.last - len(entries) + 1
        rows = [(first + i, raw) for i, raw in enumerate(entries)][:limit]
        if len(rows) < len(entries):
            self.cursor = rows[-1][0] if rows else before
        return rows, taken.gap, taken.ended and len(rows) == len(entries)

    @property
    def is_behind(self) -> bool:
        """Whether what comes next has to be read from Redis."""
        return self.cursor < self.feed.base

    def run_ahead(self) -> Run | None:
        """The next page, where it has to be read from Redis and is one run of text. The cursor stays: set it to
        ``last`` to take the run. Raises ``StoreUnavailable``, ``UndecodableRecord``."""
        if not self.is_behind:
            return None
        return self._pages.run(self.feed.job_id, self.cursor, self._count)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for something new, at most ``seconds``. True if there is; False on an idle tick, when whoever reads
        checks its client, its deadline and ``must_leave``. None as ``seconds``: until the follower's own tick,
        which costs no timer."""
        if self.has_news():
            return True
        event = self._waited_on()
        event.wait(seconds)
        event.clear()
        return self.has_news()

    def wake(self) -> None:
        """Make ``wait`` return: news, a tick, or the client left."""
        if self.on_wake is None or not self.on_wake():
            self._waited_on().set()

    def _waited_on(self) -> Event:
        # Made when it is needed: thousands of idle readers have none.
        if self._event is None:
            self._event = Event()
        return self._event

    def has_news(self) -> bool:
        """Whether ``take`` may find something."""
        feed = self.feed
        if self.cursor < feed.last:
            return feed.ready or self.cursor < feed.base
        return feed.gone or (feed.ended and feed.ready)

    def _replay(self, encoder: Encoder) -> Batch | None:
        page = self._pages.read(self.feed.job_id, self.cursor, self._count)
        if not page.rows:
            found = self._follower.read_again(self.feed, self.cursor)
            if found is None:
                return None
            page = Page(found)
        # What is large is read in smaller steps, for a while.
        self._count = len(page.rows) if page.full else min(PAGE, 2 * self._count)
        gap = gap_before(page.rows, self.cursor, self.feed.last)
        if not page.rows:
            # Nothing is left of it: on with what this process still has, if anything.
            has_tail = bool(self.feed.tail)
            earliest = self.feed.base + 1 if has_tail else None
            gap = Gap(self.cursor + 1, earliest, self.feed.last if has_tail else None, self.feed.base)
            self.cursor = self.feed.base
            return Batch(b"", self.cursor, gap, ended=not has_tail and (self.feed.ended or self.feed.gone))
        self.cursor, last = page.rows[-1]
        return Batch(page.encoded(encoder), self.cursor, gap, ended=is_terminal(last))

    def _at_the_end(self, encoder: Encoder) -> Batch | None:
        feed = self.feed
        if feed.gone and not feed.ended:
            return Batch(b"", self.cursor, Gap(self.cursor + 1, None, None, self.cursor), ended=True)
        if not feed.ended:
            return None
        if self.cursor == feed.last:
            return Batch(b"", self.cursor, ended=True)
        # Ahead of a log that has ended: what it wants will never be, so it gets the end.
        requested, self.cursor = self.cursor + 1, feed.last - 1
        page = self._pages.read(feed.job_id, self.cursor, 1)
        self.cursor = feed.last
        if not page.rows:
            return Batch(b"", self.cursor, Gap(requested, None, None, feed.last), ended=True)
        return Batch(
            page.encoded(encoder), self.cursor, Gap(requested, feed.last, feed.last, feed.last - 1), ended=True
        )
