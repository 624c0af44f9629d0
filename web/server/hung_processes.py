"""Processes of a web that stand still: ended within 20 s, so that their readers go on elsewhere.

gunicorn's own check asks a process to end first, which a stopped one cannot do, and takes a pause of the whole web for
a failure of all its processes.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger("spool.web")

HANG_S = 15.0
"""A process whose hub said nothing for so long is ended. It beats twice a second."""
_BOOT_S = 60.0
_PAUSE_S = 5.0
"""The master looks once a second. Where it did not for so long, it stood still itself, perhaps with the others."""


class Arbiter(Protocol):
    """What is used of gunicorn's master."""

    WORKERS: dict[int, Any]

    def kill_worker(self, pid: int, sig: int) -> None: ...


class HungProcesses:
    """Takes the place of gunicorn's ``murder_workers``."""

    def __init__(self, arbiter: Arbiter, clock: Callable[[], float] = time.monotonic) -> None:
        self._arbiter = arbiter
        self._clock = clock
        self._looked_at = clock()
        self._ran_on_at = float("-inf")

    def end(self) -> None:
        """SIGKILL to every process that stands still."""
        now = self._clock()
        if now - self._looked_at > _PAUSE_S:
            self._ran_on_at = now
        self._looked_at = now
        for pid, worker in list(self._arbiter.WORKERS.items()):
            try:
                heard_at = max(worker.tmp.last_update(), self._ran_on_at)
            except (OSError, ValueError):
                # It has ended, and is only not buried yet.
                continue
            if now - heard_at > HANG_S:
                log.error("web process %d has stood still for %.0f s; it is killed", pid, now - heard_at)
                self._arbiter.kill_worker(pid, signal.SIGKILL)


def allow_boot(worker: Any, clock: Callable[[], float] = time.monotonic) -> None:
    """Count from now, with the time that a start may take. gunicorn counts from the first beat."""
    begins = clock() + _BOOT_S - HANG_S
    os.utime(worker.tmp.fileno(), (begins, begins))
