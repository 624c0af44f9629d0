"""Quarantine processes for suspected poison jobs, which have lost their process twice.

Such a job runs alone in its process: if it kills the process again, no other job fails. The processes run
``worker.quarantine``. They start when such jobs wait, exit when none do, and end with this process.
"""

from __future__ import annotations

import logging
import sys
from subprocess import TimeoutExpired

from gevent import subprocess

from spool.deadline import Deadline

log = logging.getLogger("spool.worker")

AT_MOST = 4
"""Quarantine processes of one worker process. Each is a Python process and runs one suspected job at a time."""
_START_EVERY_S = 1.0
_STOP_S = 20.0


class QuarantinePool:
    """The quarantine processes of one worker process."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-m", "worker.quarantine")) -> None:
        self._command = command
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pause = Deadline.after(0)
        self._stopped = False

    def want(self, waiting: int) -> None:
        """Start processes for ``waiting`` quarantined jobs, up to ``AT_MOST``; none after ``stop``. Call it again while
        any wait."""
        if self._stopped or not self._pause.passed:
            return
        self._pause = Deadline.after(_START_EVERY_S)
        self._processes = [process for process in self._processes if process.poll() is None]
        for _ in range(min(waiting, AT_MOST) - len(self._processes)):
            # The pipe tells it when this process ends, even after SIGKILL.
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
            self._processes.append(process)
            log.info("process %d started for a quarantined job (it lost its process twice)", process.pid)

    def stop(self) -> None:
        """End the processes: each drains its job for the drain time, then hands it back."""
        self._stopped = True
        for process in self._processes:
            process.terminate()
        deadline = Deadline.after(_STOP_S)
        for process in self._processes:
            try:
                process.wait(max(0.1, deadline.left_s))
            except TimeoutExpired:
                log.warning("process %d did not end in time; killed, its job's lease expires", process.pid)
                process.kill()
