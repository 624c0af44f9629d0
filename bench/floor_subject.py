"""The floor as a subject: see ``bench.floor``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.processes import listens
from bench.subject import Subject
from rig.process import Process, free_port, wait_for


class FloorSubject(Subject):
    """Bare Flask. The web process is the producer, and a stream is its own job."""

    name = "bare-flask"
    what_it_lacks = "no queue, no log, no resume: the answer dies with its connection"
    numbered = True
    needs_redis = False
    shares_streams = False

    def __init__(self) -> None:
        self._webs: list[tuple[int, Process]] = []

    def install(self, directory: Path) -> None:
        """It is here."""

    def start(self, directory: Path, redis_url: str, webs: int) -> None:  # noqa: ARG002 - it has no use for one
        """As many gunicorn processes, each on a port of its own."""
        for number in range(webs):
            port = free_port()
            argv = [sys.executable, "-m", "gunicorn", "-k", "gevent", "--no-control-socket", "--backlog", "4096"]
            argv += ["--worker-connections", "6000", "-b", f"127.0.0.1:{port}", "bench.floor:app"]
            process = Process(f"web{number}", argv, dict(os.environ), directory)
            process.start()
            self._webs.append((port, process))
        for port, process in self._webs:
            wait_for(partial(listens, port), f"{process.name} of the floor listens")

    @property
    def ports(self) -> Sequence[int]:
        """One for each process."""
        return [port for port, _ in self._webs]

    def processes(self) -> Mapping[str, int]:
        """The webs."""
        return {process.name: process.pid for _, process in self._webs}

    def prepare(self, jobs: int, rate: float, seconds: float, lead_s: float) -> Sequence[str]:
        """Nothing begins before its reader comes."""
        first_at = time.time() + lead_s
        ports = self.ports
        query = f"rate={rate}&tokens={int(rate * seconds)}"
        return [
            f"http://127.0.0.1:{ports[n % len(ports)]}/stream?{query}&first_at={first_at + n / jobs / rate:.6f}"
            for n in range(jobs)
        ]

    def stop(self) -> None:
        """Gone."""
        for _, process in self._webs:
            process.close()
        self._webs = []
