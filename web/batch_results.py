"""Lines made of the entries of a batch's log, which may each be as large as an answer.

An entry, its decoded form and its line are in memory together while the line is made. So few are made at a time in a
process, and a request that waits for its turn, or for its client, holds no entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from gevent.lock import BoundedSemaphore

from spool.jobs.log import Row
from web.time_slices import Slices

AT_ONCE = 4


class Results(Protocol):
    """The log of a batch; see ``spool.batches.store.Batches``."""

    def each_result(self, batch_id: str, after: int = 0) -> Iterator[Row]: ...


class ResultLines:
    """Makes the lines of one process."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._turns = BoundedSemaphore(AT_ONCE)

    def of(self, batch_id: str, after: int, line_of: Callable[[bytes], bytes]) -> Iterator[bytes]:
        """The lines that ``line_of`` makes of the entries after ``after``; empty ones are left out. Raises like
        ``each_result`` and ``line_of``."""
        rows, slices = self._results.each_result(batch_id, after), Slices()
        line: bytes | None = b""
        while line is not None:
            slices.check()
            with self._turns:
                line = _next(rows, line_of)
            if line:
                yield line


def _next(rows: Iterator[Row], line_of: Callable[[bytes], bytes]) -> bytes | None:
    row = next(rows, None)
    return None if row is None else line_of(row[1])
