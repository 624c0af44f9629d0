"""The replay cache: pages of logs that many readers request at the same time are read and encoded once.

After the loss of a web process or a proxy, many readers reconnect at once, mostly to the same logs. A page is kept for
``_KEPT_S``, and reads are single-flight: concurrent requests for a page wait for one read. A cached page only makes a
reader see the log as of a moment earlier.
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
from spool.jobs.log import Logs, Row, Run, run_of

_KEPT_S = 1.0
_KEPT_BYTES = 16 * 1024 * 1024
_RUN_CHARACTERS = 8 * 1024 * 1024
_RUNS = 20_000
"""Limits for the text in cached runs, and for their number; in a long log a run has 500 entries."""
_AT_ONCE = 16
"""Concurrent page reads. Further reads wait here and not for Redis, where the wait would count as its silence."""
_PAGE_BYTES = 256 * 1024
"""Limit for the entries in one page, unless a single entry is larger: a page stays in memory while a slow client reads
it."""


class Page:
    """Entries without a gap between them. ``full``: the page was cut at the limit of bytes."""

    __slots__ = ("_encoded", "full", "read_at", "rows", "size")

    def __init__(self, rows: list[Row], read_at: float = 0.0) -> None:
        whole = _contiguous(rows)
        self.rows, self.size = _bounded(whole)
        self.full = len(self.rows) < len(whole)
        self.read_at = read_at
        """When it was read, on the ``ReplayCache``'s clock."""
        self._encoded: dict[Encoder, bytes] = {}

    def encoded(self, encoder: Encoder) -> bytes:
        """The whole page in the encoder's format, as one piece."""
        data = self._encoded.get(encoder)
        if data is None:
            entries = b"".join([encoder.entry(entry_id, raw) for entry_id, raw in self.rows])
            data = self._encoded[encoder] = encoder.piece(entries)
        return data


class ReplayCache:
    """The pages that this process has read recently."""

    def __init__(self, logs: Logs, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logs = logs
        self._kept: dict[tuple[str, int, int], AsyncResult[Page]] = {}
        self._bytes = 0
        self._runs: OrderedDict[tuple[str, int], Run] = OrderedDict()
        self._run_characters = 0
        self._turns = BoundedSemaphore(_AT_ONCE)

    def read(self, job_id: str, after: int, count: int, *, is_packed: bool = False) -> Page:
        """At most ``count`` entries after ``after``; none if there are none now. ``is_packed``: see ``Logs.read``.
        Raises ``StoreUnavailable``."""
        key = (job_id, after, count)
        kept = self._kept.get(key)
        if kept is not None and not (kept.ready() and self._is_old(kept)):
            return _page_of(kept)
        reading: AsyncResult[Page] = AsyncResult()
        self._forget(key)
        self._kept[key] = reading
        try:
            with self._turns:
                page = Page(self._logs.read(job_id, after, count, is_packed=is_packed), self._clock())
        except BaseException as exc:
            del self._kept[key]
            # If this greenlet is killed, the callers that wait for its read retry, as after any temporary error.
            reading.set_exception(exc if isinstance(exc, StoreUnavailable) else StoreUnavailable("read interrupted"))
            raise
        reading.set(page)
        self._bytes += page.size
        if not page.rows:
            # Not cached: entries may arrive at any time.
            self._forget(key)
        self._make_room()
        return page

    def run(self, job_id: str, after: int, count: int, *, is_packed: bool = False) -> Run | None:
        """The next page after ``after`` as one run of text; None if it is not one, or if an entry is missing. Entries
        never change, so runs are kept longer than pages. Raises ``StoreUnavailable``, ``UndecodableRecord``."""
        key = (job_id, after)
        kept = self._runs.get(key)
        if kept is not None:
            self._runs.move_to_end(key)
            return kept
        page = self.read(job_id, after, count, is_packed=is_packed)
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
        """Drop the pages that are too old to use. Call it regularly."""
        self._logs.drop_old()
        for key, kept in list(self._kept.items()):
            if kept.ready() and self._is_old(kept):
                self._forget(key)

    def _is_old(self, kept: AsyncResult[Page]) -> bool:
        return self._clock() - _page_of(kept).read_at > _KEPT_S

    def _make_room(self) -> None:
        for key in list(self._kept):
            if self._bytes <= _KEPT_BYTES:
                return
            if self._kept[key].ready():
                self._forget(key)

    def _forget(self, key: tuple[str, int, int]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _page_of(kept).size


def _page_of(reading: AsyncResult[Page]) -> Page:
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
    """The rows up to the first gap; the next page has the rows after it, with the gap."""
    if not rows or rows[-1][0] - rows[0][0] == len(rows) - 1:
        return rows
    end = next(i for i in range(1, len(rows)) if rows[i][0] != rows[i - 1][0] + 1)
    return rows[:end]
