"""Processes of their own for jobs that may have killed the process they ran in, twice.

Nothing else runs beside such a job: if it does kill its process again, it alone fails. ``worker.quarantine`` is what
runs in them. They are started when such jobs wait, end by themselves when none do, and end with this process.
"""

from __future__ import annotations

import logging
import sys
import time
from subprocess import TimeoutExpired

from gevent import subprocess

log = logging.getLogger("spool.worker")

AT_MOST = 4
"""For one worker process. Each is a Python process of its own, and there is one for each suspicious job at a time."""
_START_EVERY_S = 1.0
_STOP_S = 20.0


class Annexes:
    """Those of one worker process."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-m", "worker.quarantine")) -> None:
        self._command = command
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start_at = float("-inf")

    def want(self, waiting: int) -> None:
        """``waiting`` jobs want a process: as many are started as there may be. To be called again while any wait."""
        now = time.monotonic()
        if now < self._start_at:
            return
        self._start_at = now + _START_EVERY_S
        self._processes = [process for process in self._processes if process.poll() is None]
        for _ in range(min(waiting, AT_MOST) - len(self._processes)):
            # The pipe is how it learns that we are gone, however we went.
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
            self._processes.append(process)
            log.info("process %d started, for a job that lost its process twice", process.pid)

    def stop(self) -> None:
        """End them as this process ends: each lets its job run for the drain time, then hands it back."""
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + _STOP_S
        for process in self._processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except TimeoutExpired:
                log.warning("process %d did not end; its lease runs out", process.pid)
                process.kill()
