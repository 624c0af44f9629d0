"""The stand-in for a model server as a process: in C where there is a compiler, else ``bench.stand_in``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.compiler import program
from bench.processes import listens
from rig.process import Process, free_port, wait_for


class StandIn(Process):
    """Listens once ``start`` returns."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        in_c = program("stand_in")
        argv = [str(in_c)] if in_c else [sys.executable, "-m", "bench.stand_in"]
        super().__init__("stand-in", [*argv, str(self.port)], dict(os.environ), directory)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        super().start()
        wait_for(lambda: listens(self.port), "the stand-in listens")
