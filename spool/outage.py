"""One service that may be away: how long to leave it alone, and one log line when that begins and one when it ends."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

FIRST_S = 0.5
MOST_S = 10.0
_SHOWN_CHARACTERS = 200


class Outage:
    """``service`` is its name for the log, ``meanwhile`` what happens without it. ``clock`` answers seconds."""

    def __init__(
        self, log: logging.Logger, service: str, meanwhile: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._service = service
        self._meanwhile = meanwhile
        self._clock = clock
        self._failures = 0
        self._began_at = 0.0
        self._until = float("-inf")

    @property
    def left_s(self) -> float:
        """Seconds until the service is to be tried again; 0 if it may be tried now."""
        return max(0.0, self._until - self._clock())

    def failed(self, exc: BaseException) -> float:
        """The service refused or did not answer; seconds until it is to be tried again."""
        if not self._failures:
            self._began_at = self._clock()
            self._log.warning("%s: %s; %s", self._service, _shown(exc), self._meanwhile)
        delay_s = min(MOST_S, FIRST_S * 2.0 ** min(self._failures, 30)) * random.uniform(0.75, 1.0)
        self._failures += 1
        self._until = self._clock() + delay_s
        return delay_s

    def worked(self) -> None:
        """The service did what it was asked."""
        if self._failures:
            self._log.info("%s: works again after %.0f s", self._service, self._clock() - self._began_at)
            self._failures = 0
            self._until = float("-inf")


def _shown(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    return f"{type(exc).__name__}: {text[:_SHOWN_CHARACTERS]}" if text else type(exc).__name__
