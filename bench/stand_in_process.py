"""The stand-in for a model server as a process: ``bench.stand_in``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.processes import listens
from tests.stack import Process, free_port, wait_for


class StandIn(Process):
    """Listens once ``start`` returns."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        argv = [sys.executable, "-m", "bench.stand_in", str(self.port)]
        super().__init__("stand-in", argv, dict(os.environ), directory)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        super().start()
        wait_for(lambda: listens(self.port), "the stand-in listens")
