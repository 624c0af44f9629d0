"""Logging for a loop that breaks repeatedly: one traceback at the first error, and one line on recovery."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("spool.background")

STEADY_S = 30.0
"""A loop that ran for this long without a break has recovered."""


class Breaks:
    """The breaks of the loop ``name``. ``clock`` is monotonic."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._count = 0
        self._began_at = self._broke_at = float("-inf")
        self._logged: set[str] = set()

    def broke(self, exc: Exception) -> None:
        """Record a break. An error is logged in full unless it was logged since the last recovery."""
        self.look()
        now = self._clock()
        if not self._count:
            self._began_at = now
        self._count, self._broke_at = self._count + 1, now
        kind = _kind(exc)
        if kind not in self._logged:
            self._logged.add(kind)
            log.error("%s broke; it is started again, and this error is not logged again", self._name, exc_info=exc)

    def look(self) -> None:
        """Log the recovery, if the loop has recovered. Call it regularly."""
        if self._count and self._clock() - self._broke_at >= STEADY_S:
            lasted_s = self._broke_at - self._began_at
            log.warning("%s runs again; it broke %d times in %.0f s", self._name, self._count, lasted_s)
            self._count = 0
            self._logged.clear()


def _kind(exc: Exception) -> str:
    """The error's type and the place where it was raised, without its message, which may differ each time."""
    place, traceback = "", exc.__traceback__
    while traceback is not None:
        place, traceback = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}", traceback.tb_next
    return f"{type(exc).__name__} {place}"
