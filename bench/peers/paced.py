"""What the peers that ``producer`` feeds have in common: that process, and the orders it gets."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.peers import programs
from bench.peers.producer import Order
from bench.subject import SubjectUnavailable
from rig.process import Process


class Producer(Process):
    """The producer as a process. ``target`` is what follows its control socket on the command line."""

    def __init__(self, directory: Path, *target: str) -> None:
        self._control = directory / "producer.sock"
        argv = [sys.executable, "-m", "bench.peers.producer", str(self._control), *target]
        super().__init__("producer", argv, dict(os.environ), directory)

    def start_ready(self) -> None:
        """Start it and wait until it takes orders."""
        self._control.unlink(missing_ok=True)
        programs.start(self, self._control.exists)

    def begin(self, jobs: int, rate: float, seconds: float, lead_s: float) -> Sequence[str]:
        """As ``Subject.prepare``, with the jobs' names for the streams'."""
        order = new_order(jobs, rate, seconds, lead_s)
        self._ask(json.dumps(asdict(order)))
        return order.names

    def produced(self) -> int:
        """As ``Subject.produced``: what the peer has acknowledged."""
        return int(self._ask(""))

    def _ask(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(self._control))
            sock.sendall(f"{line}\n".encode())
            answer = sock.makefile().readline()
        if not answer:
            raise SubjectUnavailable(f"the producer failed; see {self.output}")
        return answer


def new_order(jobs: int, rate: float, seconds: float, lead_s: float) -> Order:
    """An order under a new name, from now on."""
    return Order(uuid.uuid4().hex[:12], jobs, rate, int(rate * seconds), time.time() + lead_s)
