"""Detection of hung web processes: killed within 20 s, so that their readers reconnect elsewhere.

gunicorn's own check first asks a process to exit, which a stopped one cannot do. It also mistakes a pause of the whole
server for a hang of all its processes.
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
"""A process without a heartbeat for this long is killed. Its hub beats twice a second."""
_BOOT_S = 60.0
_PAUSE_S = 5.0
"""The master checks once a second. A longer gap than this means that it was paused itself, perhaps with the others."""


class Arbiter(Protocol):
    """The used part of gunicorn's master."""

    WORKERS: dict[int, Any]

    def kill_worker(self, pid: int, sig: int) -> None: ...


class HungProcesses:
    """Replaces gunicorn's ``murder_workers``."""

    def __init__(self, arbiter: Arbiter, clock: Callable[[], float] = time.monotonic) -> None:
        self._arbiter = arbiter
        self._clock = clock
        self._looked_at = clock()
        self._resumed_at = float("-inf")

    def end(self) -> None:
        """Send SIGKILL to every hung process."""
        now = self._clock()
        if now - self._looked_at > _PAUSE_S:
            self._resumed_at = now
        self._looked_at = now
        for pid, worker in list(self._arbiter.WORKERS.items()):
            try:
                beat_at = max(worker.tmp.last_update(), self._resumed_at)
            except (OSError, ValueError):
                # The process has exited but is not reaped yet.
                continue
            if now - beat_at > HANG_S:
                log.error("web process %d has been hung for %.0f s; killing it", pid, now - beat_at)
                self._arbiter.kill_worker(pid, signal.SIGKILL)


def allow_boot(worker: Any, clock: Callable[[], float] = time.monotonic) -> None:
    """Start the process's heartbeat clock now, with ``_BOOT_S`` for its start. gunicorn starts it at the first beat."""
    begins = clock() + _BOOT_S - HANG_S
    os.utime(worker.tmp.fileno(), (begins, begins))
