"""A loop that breaks again and again: one traceback in the log when that begins, and one line when it is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("spool.background")

STEADY_S = 30.0
"""A loop that ran for so long without a break is mended."""


class Breaks:
    """Those of the loop ``name``. ``clock`` is monotonic."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._count = 0
        self._began_at = self._broke_at = float("-inf")
        self._said: set[str] = set()

    def broke(self, exc: Exception) -> None:
        """It broke just now. Only an error that is not among the last ones is logged in full."""
        self.look()
        now = self._clock()
        if not self._count:
            self._began_at = now
        self._count, self._broke_at = self._count + 1, now
        kind = _kind(exc)
        if kind not in self._said:
            self._said.add(kind)
            log.error("%s broke; it is started again, and this error is not logged again", self._name, exc_info=exc)

    def look(self) -> None:
        """Say that it is over, if it is. To be called now and then."""
        if self._count and self._clock() - self._broke_at >= STEADY_S:
            lasted_s = self._broke_at - self._began_at
            log.warning("%s runs again; it broke %d times in %.0f s", self._name, self._count, lasted_s)
            self._count = 0
            self._said.clear()


def _kind(exc: Exception) -> str:
    """Where it was raised, and not what it says: that may be different each time."""
    place, traceback = "", exc.__traceback__
    while traceback is not None:
        place, traceback = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}", traceback.tb_next
    return f"{type(exc).__name__} {place}"
