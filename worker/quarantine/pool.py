"""Quarantine processes for suspected poison jobs, which have lost their process twice.

Such a job runs alone in its process: if it kills the process again, no other job fails. The processes run
``worker.quarantine``. They start when such jobs wait, exit when none do, and end with this process.
"""

from __future__ import annotations

import logging
import os
import sys
from subprocess import TimeoutExpired

from gevent import subprocess

from spool.deadline import Deadline
from spool.metrics import PLACE

log = logging.getLogger("spool.worker")

AT_MOST = 4
"""Quarantine processes of one worker process. Each is a Python process and runs one suspected job at a time."""
_START_EVERY_S = 1.0
_STOP_S = 20.0


class QuarantinePool:
    """The quarantine processes of one worker process."""

    def __init__(
        self,
        command: tuple[str, ...] = (sys.executable, "-m", "worker.quarantine"),
        *,
        start_every_s: float = _START_EVERY_S,
    ) -> None:
        self._command = command
        self._start_every_s = start_every_s
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        """By number, at most ``AT_MOST``."""
        self._pause = Deadline.after(0)
        self._stopped = False

    def want(self, waiting: int) -> None:
        """Start processes for ``waiting`` quarantined jobs, up to ``AT_MOST``; none after ``stop``. Call it again while
        any wait."""
        if self._stopped or not self._pause.passed:
            return
        self._pause = Deadline.after(self._start_every_s)
        self._processes = {number: process for number, process in self._processes.items() if process.poll() is None}
        free = [number for number in range(AT_MOST) if number not in self._processes]
        for number in free[: max(0, min(waiting, AT_MOST) - len(self._processes))]:
            place = {PLACE: f"{os.environ[PLACE]}-quarantine{number}"} if os.environ.get(PLACE) else {}
            # The pipe tells it when this process ends, even after SIGKILL.
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE, env={**os.environ, **place})
            self._processes[number] = process
            log.info("process %d started for a quarantined job (it lost its process twice)", process.pid)

    def stop(self) -> None:
        """End the processes: each drains its job for the drain time, then hands it back."""
        self._stopped = True
        for process in self._processes.values():
            process.terminate()
        deadline = Deadline.after(_STOP_S)
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline.left_s))
            except TimeoutExpired:
                log.warning("process %d did not end in time; killed, its job's lease expires", process.pid)
                process.kill()
