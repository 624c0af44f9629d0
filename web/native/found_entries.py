"""The entries of one answer to a long poll."""

from __future__ import annotations

from spool.jobs.log import Gap, Row

WAIT_AT_MOST_S = 55
BYTES_AT_MOST = 1024 * 1024
"""The bytes of the entries of one answer, unless the first is larger, as a line of a batch may be."""


class Found:
    """The entries of the answer, at most ``limit`` and ``BYTES_AT_MOST``. If it had to wait for the first, it also gets
    those of the linger time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._looks = 0
        self._room = BYTES_AT_MOST
        self._is_full = False
        self.rows: list[Row] = []
        self.gap: Gap | None = None
        self.ended = False

    @property
    def may_grow(self) -> bool:
        """Whether the first entries had to be waited for, and there is room for more. A full answer takes nothing more:
        its reader is past entries that were left out, so a later end is not the answer's."""
        return self._looks > 1 and len(self.rows) > 0 and not self._is_full and not self.ended

    def add(self, rows: list[Row], gap: Gap | None, ended: bool) -> bool:
        """Add the first entries. Returns whether there is anything to answer."""
        self._looks += 1
        self.gap = gap
        self._extend(rows, ended)
        return bool(rows) or gap is not None or ended

    def add_more(self, rows: list[Row], gap: Gap | None, ended: bool) -> bool:
        """Add entries of the linger time. Returns whether nothing can follow in this answer."""
        if gap is not None:
            # The next request starts before the gap and reports it.
            return True
        self._extend(rows, ended)
        return not self.may_grow

    def _extend(self, rows: list[Row], ended: bool) -> None:
        for row in rows:
            if self.rows and (len(self.rows) == self._limit or len(row[1]) > self._room):
                self._is_full = True
                return
            self.rows.append(row)
            self._room -= len(row[1])
        self._is_full = len(self.rows) == self._limit
        self.ended = ended
