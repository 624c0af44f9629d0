"""The outage of a service: backoff between tries, one log line when the outage begins and one when it ends."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

FIRST_S = 0.5
MOST_S = 10.0
_SHOWN_CHARACTERS = 200


class Outage:
    """The outages of one service. ``service`` is its name in the log, ``meanwhile`` the effect of an outage. ``clock``
    returns seconds."""

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
        """Seconds until the next try; 0 if the service may be tried now."""
        return max(0.0, self._until - self._clock())

    def failed(self, exc: BaseException) -> float:
        """Record that the service refused or did not answer. Returns the seconds until the next try."""
        if not self._failures:
            self._began_at = self._clock()
            self._log.warning("%s: %s; %s", self._service, _shown(exc), self._meanwhile)
        delay_s = min(MOST_S, FIRST_S * 2.0 ** min(self._failures, 30)) * random.uniform(0.75, 1.0)
        self._failures += 1
        self._until = self._clock() + delay_s
        return delay_s

    def worked(self) -> None:
        """Record a success, which ends an outage."""
        if self._failures:
            self._log.info("%s: works again after %.0f s", self._service, self._clock() - self._began_at)
            self._failures = 0
            self._until = float("-inf")


def _shown(exc: BaseException) -> str:
    text = " ".join(str(exc).split()).rstrip(".")
    return f"{type(exc).__name__}: {text[:_SHOWN_CHARACTERS]}" if text else type(exc).__name__
