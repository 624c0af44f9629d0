"""``resumable-stream`` on Node over Redis: the streams are made in the Node processes, and every reader resumes.

The library's common case, a first client that never loses its connection, goes past Redis and is not what is measured:
a client that comes back is what Spool is for.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.peers import programs
from bench.peers.paced import new_order
from bench.subject import Subject, SubjectUnavailable
from rig.process import Process, free_port

_APP = Path(__file__).with_name("resumable_stream_app.mjs")
_PINS = json.dumps(
    {
        "name": "peer",
        "description": "A peer of the bench, pinned",
        "private": True,
        "type": "module",
        "dependencies": {"redis": "6.3.1", "resumable-stream": "2.2.13"},
    }
)
_INSTALL = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
_MAJOR = 20


class ResumableStream(Subject):
    """One Node process per web, each on a port of its own; each produces the jobs whose readers it is given."""

    name = "resumable-stream"
    what_it_lacks = (
        "no queue, no workers, no durable log: the text is in the memory of the process that makes it, is gone with it "
        "or at the end, and nobody ends the stream then"
    )
    numbered = True

    def __init__(self) -> None:
        self._directory = Path()
        self._webs: dict[int, Process] = {}

    def install(self, directory: Path) -> None:
        """Its packages by npm, without running their scripts."""
        self._directory = directory.absolute()
        for program in ("node", "npm"):
            if shutil.which(program) is None:
                raise SubjectUnavailable(f"there is no {program} on PATH; it takes Node {_MAJOR} or newer, with npm")
        self._directory.mkdir(parents=True, exist_ok=True)
        version = programs.run(["node", "--version"], self._directory).strip()
        if int(version.removeprefix("v").partition(".")[0]) < _MAJOR:
            raise SubjectUnavailable(f"node is {version}, and it takes {_MAJOR} or newer")
        (self._directory / "package.json").write_text(_PINS)
        programs.fetch(self._directory, _PINS, [_INSTALL])

    def start(self, directory: Path, redis_url: str, webs: int) -> None:
        """The webs, which are the producers as well."""
        # Node looks for packages beside the file that imports them.
        app = shutil.copy(_APP, self._directory / _APP.name)
        for number in range(webs):
            port = free_port()
            argv = ["node", str(app), str(port), programs.socket_path(redis_url)]
            env = {**os.environ, "NODE_ENV": "production"}
            self._webs[port] = Process(f"web{number}", argv, env, directory)
            programs.start(self._webs[port], lambda port=port: programs.listens(port))  # type: ignore[misc]

    def processes(self) -> Mapping[str, int]:
        """The webs. What producing takes is in them."""
        return {process.name: process.pid for process in self._webs.values()}

    def prepare(self, jobs: int, rate: float, seconds: float, lead_s: float) -> Sequence[str]:
        """A stream is there as soon as it was made: a reader that is earlier would get nothing."""
        order, ports = new_order(jobs, rate, seconds, lead_s), list(self._webs)
        start_us = {"startUs": order.start_s * 1e6, "startMonotonicUs": (time.monotonic() + lead_s) * 1e6}
        for first, port in enumerate(ports):
            body = json.dumps({**asdict(order), **start_us, "first": first, "step": len(ports)}).encode()
            _call(f"http://127.0.0.1:{port}/jobs", body)
        return [f"http://127.0.0.1:{ports[n % len(ports)]}/jobs/{name}/stream" for n, name in enumerate(order.names)]

    def everywhere(self, url: str) -> Sequence[str]:
        """A reader may resume at any process: the text comes over Redis."""
        path = url.split("/", 3)[3]
        return [f"http://127.0.0.1:{port}/{path}" for port in self._webs]

    def produced(self) -> int:
        """What the processes have handed to the library."""
        return sum(int(_call(f"http://127.0.0.1:{port}/produced")) for port in self._webs)

    def stop(self) -> None:
        """SIGKILL: nothing of it is kept."""
        for process in self._webs.values():
            process.close()
        self._webs = {}


def _call(url: str, body: bytes | None = None) -> bytes:
    try:
        with urllib.request.urlopen(url, body, timeout=60) as answer:
            return bytes(answer.read())
    except OSError as exc:
        raise SubjectUnavailable(f"{url}: {exc}") from exc
