"""Starlette + sse-starlette under uvicorn, each client with a blocking XREAD of its own: what people write by hand."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.peers import programs
from bench.peers.paced import Producer
from bench.subject import Subject
from rig.process import Process, free_port

_APP = Path(__file__).with_name("sse_starlette_app.py")
_PINS = Path(__file__).with_name("sse-starlette.txt")
_PIP = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--requirement", str(_PINS)]


class SseStarlette(Subject):
    """One uvicorn process per web, each on a port of its own, and ``producer`` with XADD."""

    name = "sse-starlette"
    what_it_lacks = (
        "no queue, no workers, no fencing, nobody ends the log of a producer that died; "
        "it keeps a durable log, and every reader holds a Redis connection"
    )

    def __init__(self) -> None:
        self._directory = Path()
        self._webs: dict[int, Process] = {}
        self._producer: Producer | None = None

    def install(self, directory: Path) -> None:
        """A virtual environment of its own with the pinned packages."""
        self._directory = directory.absolute()
        make = [sys.executable, "-m", "venv", "--clear", "venv"]
        programs.fetch(self._directory, f"{sys.version}\n{_PINS.read_text()}", [make, [self._python, *_PIP]])

    def start(self, directory: Path, redis_url: str, webs: int) -> None:
        """The webs, then the producer."""
        # Not run where it is: ``sse_starlette`` would be this module there.
        app = Path(shutil.copy(_APP, self._directory / _APP.name))
        env = {**os.environ, "PEER_REDIS_URL": redis_url}
        for number in range(webs):
            port = free_port()
            argv = [self._python, "-m", "uvicorn", "--app-dir", str(app.parent), f"{app.stem}:app"]
            argv += ["--port", str(port), "--loop", "uvloop", "--http", "httptools", "--ws", "none"]
            argv += ["--no-access-log", "--log-level", "warning", "--backlog", "4096"]
            self._webs[port] = Process(f"web{number}", argv, env, directory)
            programs.start(self._webs[port], lambda port=port: programs.listens(port))  # type: ignore[misc]
        self._producer = Producer(directory, "redis", programs.socket_path(redis_url))
        self._producer.start_ready()

    def processes(self) -> Mapping[str, int]:
        """The webs and the producer."""
        assert self._producer is not None
        return {process.name: process.pid for process in [*self._webs.values(), self._producer]}

    def prepare(self, jobs: int, rate: float, seconds: float, lead_s: float) -> Sequence[str]:
        """The streams can be read before their first entry: XREAD waits for a key that is not there yet."""
        assert self._producer is not None
        ports = list(self._webs)
        names = self._producer.begin(jobs, rate, seconds, lead_s)
        return [f"http://127.0.0.1:{ports[n % len(ports)]}/jobs/{name}/stream" for n, name in enumerate(names)]

    def everywhere(self, url: str) -> Sequence[str]:
        """All webs read the same Redis."""
        path = url.split("/", 3)[3]
        return [f"http://127.0.0.1:{port}/{path}" for port in self._webs]

    def produced(self) -> int:
        """What the producer's answers say."""
        assert self._producer is not None
        return self._producer.produced()

    def stop(self) -> None:
        """SIGKILL: nothing of it is kept."""
        for process in [*([self._producer] if self._producer else []), *self._webs.values()]:
            process.close()
        self._webs, self._producer = {}, None

    @property
    def _python(self) -> str:
        return str(self._directory / "venv/bin/python")
