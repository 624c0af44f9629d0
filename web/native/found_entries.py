"""The entries of one answer to a long poll."""

from __future__ import annotations

from spool.jobs.log import Gap, Row

WAIT_AT_MOST_S = 55


class Found:
    """The entries of the answer, at most ``limit``. If it had to wait for the first, it also gets those of the linger
    time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._looks = 0
        self.rows: list[Row] = []
        self.gap: Gap | None = None
        self.ended = False

    @property
    def may_grow(self) -> bool:
        """Whether the first entries had to be waited for, and there is room for more. A full answer takes nothing more:
        its reader is past entries that were left out, so a later end is not the answer's."""
        return self._looks > 1 and 0 < len(self.rows) < self._limit and not self.ended

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
        room = self._limit - len(self.rows)
        self.rows += rows[:room]
        self.ended = ended and len(rows) <= room
