"""Pages of logs as replays read them: what many readers want at the same moment is read and encoded once.

Readers come back in crowds, after a web process or a connection of many was lost, and mostly to the same logs. A page
is kept for a moment; whoever asks while it is being read waits for that. A reader that gets such a page is where it
would be if it had come a moment earlier.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

from spool.errors import StoreUnavailable
from spool.following.encoder import Encoder
from spool.jobs.log import Row, Run, read, run_of
from spool.redis.link import RedisLink

_KEPT_S = 1.0
_KEPT_BYTES = 16 * 1024 * 1024
_RUN_CHARACTERS = 8 * 1024 * 1024
_RUNS = 20_000
"""Of text in runs that are kept, and of runs: of 500 entries each, if a log is long."""
_AT_ONCE = 16
"""Pages that are read at a time: whoever comes after waits for the others here, and not for an answer of Redis's, which
would count as its silence."""
_PAGE_BYTES = 256 * 1024
"""Of entries in one page, unless one alone is larger: it is held in memory while a slow client takes it."""


class Page:
    """Entries without a hole between them. ``full``: more of them would have been too many bytes for one page."""

    __slots__ = ("_encoded", "full", "read_at", "rows", "size")

    def __init__(self, rows: list[Row], read_at: float = 0.0) -> None:
        whole = _contiguous(rows)
        self.rows, self.size = _bounded(whole)
        self.full = len(self.rows) < len(whole)
        self.read_at = read_at
        """When it was read, on the clock of the ``ReplayCache`` that keeps it."""
        self._encoded: dict[Encoder, bytes] = {}

    def encoded(self, encoder: Encoder) -> bytes:
        """All of it in the encoder's format."""
        data = self._encoded.get(encoder)
        if data is None:
            data = self._encoded[encoder] = b"".join([encoder.entry(entry_id, raw) for entry_id, raw in self.rows])
        return data


class ReplayCache:
    """The pages that this process has read in the last moment."""

    def __init__(self, link: RedisLink, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._link = link
        self._kept: dict[tuple[str, int, int], AsyncResult[Page]] = {}
        self._bytes = 0
        self._runs: OrderedDict[tuple[str, int], Run] = OrderedDict()
        self._run_characters = 0
        self._turns = BoundedSemaphore(_AT_ONCE)

    def read(self, job_id: str, after: int, count: int) -> Page:
        """At most ``count`` entries after ``after``; none if there are none now. Raises ``StoreUnavailable``."""
        key = (job_id, after, count)
        kept = self._kept.get(key)
        if kept is not None and not (kept.ready() and self._is_old(kept)):
            return _got(kept)
        reading: AsyncResult[Page] = AsyncResult()
        self._forget(key)
        self._kept[key] = reading
        try:
            with self._turns:
                page = Page(read(self._link, job_id, after, count), self._clock())
        except BaseException as exc:
            del self._kept[key]
            # Whoever waited for a greenlet that is killed comes again, as after any passing trouble.
            reading.set_exception(exc if isinstance(exc, StoreUnavailable) else StoreUnavailable("the read broke off"))
            raise
        reading.set(page)
        self._bytes += page.size
        if not page.rows:
            # More may come at any time, and the next one to ask wants to know.
            self._forget(key)
        self._make_room()
        return page

    def run(self, job_id: str, after: int, count: int) -> Run | None:
        """The entries after ``after`` as one run of text, where those of the next page are one and none is missing.
        Entries never change, so runs are kept longer than pages. Raises ``StoreUnavailable``, ``UndecodableRecord``."""
        key = (job_id, after)
        kept = self._runs.get(key)
        if kept is not None:
            self._runs.move_to_end(key)
            return kept
        page = self.read(job_id, after, count)
        if not page.rows or page.rows[0][0] != after + 1:
            return None
        run = run_of(page.rows)
        if run is not None and key not in self._runs:
            self._runs[key] = run
            self._run_characters += len(run.text)
            while self._run_characters > _RUN_CHARACTERS or len(self._runs) > _RUNS:
                _key, oldest = self._runs.popitem(last=False)
                self._run_characters -= len(oldest.text)
        return run

    def drop_old(self) -> None:
        """Forget what nobody may be given any more. To be called now and then."""
        for key, kept in list(self._kept.items()):
            if kept.ready() and self._is_old(kept):
                self._forget(key)

    def _is_old(self, kept: AsyncResult[Page]) -> bool:
        return self._clock() - _got(kept).read_at > _KEPT_S

    def _make_room(self) -> None:
        for key in list(self._kept):
            if self._bytes <= _KEPT_BYTES:
                return
            if self._kept[key].ready():
                self._forget(key)

    def _forget(self, key: tuple[str, int, int]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _got(kept).size


def _got(reading: AsyncResult[Page]) -> Page:
    return cast(Page, reading.get())


def _bounded(rows: list[Row]) -> tuple[list[Row], int]:
    size = sum([len(raw) for _entry_id, raw in rows])
    if size <= _PAGE_BYTES:
        return rows, size
    size = 0
    for at, (_entry_id, raw) in enumerate(rows):
        if at and size + len(raw) > _PAGE_BYTES:
            return rows[:at], size
        size += len(raw)
    return rows, size


def _contiguous(rows: list[Row]) -> list[Row]:
    """The rows up to the first hole among them; what is behind it comes next, with its gap."""
    if not rows or rows[-1][0] - rows[0][0] == len(rows) - 1:
        return rows
    end = next(i for i in range(1, len(rows)) if rows[i][0] != rows[i - 1][0] + 1)
    return rows[:end]
