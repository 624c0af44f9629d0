"""The web under fuzz: sends one case to it, and says what was wrong with what it did."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.cases import Case, Known
from tests.stack import ROOT, Process, Stack, Web, wait_for

STRETCH_S = 0.05
"""How long a request may compute at a stretch, of its process's CPU time."""
_AT_ONCE_S = 0.5
_ANSWER_S = 5.0
_REST_S = 0.05
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})")
_CLOSED_BY_A_BUG = b"\x88\x10\x03\xf3"
"""The beginning of a close frame with code 1011 and the reason ``internal error``."""


class Target:
    """One web process of a stack, with the probe in it."""

    def __init__(self, stack: Stack, stretch_s: float = STRETCH_S) -> None:
        self._stretch_s = stretch_s
        self._web: Web = stack.webs[0]
        self._stretches = stack.directory / "stretches"
        self._log_seen = 0
        self._stretches_seen = 0
        self.longest_s = 0.0
        self.counts: dict[str, int] = {}

    def prepare(self, stack: Stack) -> Known:
        """The jobs that cases name; and from now on stretches count."""
        client = stack.client()
        bodies = [{"tokens": 5, "rate": 0, "first_token_s": 0}, {"tokens": 100_000, "rate": 1}, {"first_token_s": 600}]
        ended, running, cancelled = (
            client.post("/jobs", json={"prompt": "x", "params": b}).json()["id"] for b in bodies
        )
        client.post(f"/jobs/{cancelled}/cancel")
        wait_for(lambda: client.get(f"/jobs/{ended}").json()["status"] == "succeeded", "a job has ended")
        self._stretches_seen = self._stretches.stat().st_size if self._stretches.exists() else 0
        self._log_seen = self._web.output.stat().st_size
        return Known(f"127.0.0.1:{self._web.port}", ended, running, cancelled)

    def run(self, case: Case) -> list[str]:
        """Send the case; what was wrong."""
        wrong: list[str] = []
        answer = self._send(case)
        found = _STATUS.match(answer)
        status = found[1].decode() if found else "none"
        self.counts[status] = self.counts.get(status, 0) + 1
        if status == "500":
            wrong.append(f"500: {answer[:300]!r}")
        if _CLOSED_BY_A_BUG in answer:
            wrong.append("the socket was closed with 1011")
        return [*wrong, *self.noticed()]

    def noticed(self) -> list[str]:
        """What the web has logged and the probe has written since the last call, if it is wrong."""
        return [*self._logged(), *self._computed()]

    def _send(self, case: Case) -> bytes:
        with socket.create_connection(("127.0.0.1", self._web.port), timeout=_AT_ONCE_S) as sock:
            answer = b""
            try:
                sock.sendall(case.request)
                answer = self._first(sock)
                for frame in case.frames if answer.startswith(b"HTTP/1.1 101") else ():
                    sock.sendall(frame)
                sock.settimeout(_REST_S)
                if case.frames or not answer.endswith(b"}"):
                    answer += sock.recv(65_536)
            except OSError:
                # Streams go on for long, and what is refused early is not read to its end.
                pass
            return answer

    def _first(self, sock: socket.socket) -> bytes:
        try:
            return sock.recv(65_536)
        except TimeoutError:
            # It waits: for more of the request, or for something to say. It is told that nothing more comes.
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(_ANSWER_S)
            return sock.recv(65_536)

    def _logged(self) -> Iterator[str]:
        """Bugs that the web has logged since."""
        for line in self._new(self._web.output, "_log_seen").splitlines():
            if "unexpected" in line or "Traceback" in line or "Exception" in line:
                yield f"logged: {line[:300]}"

    def _computed(self) -> Iterator[str]:
        """Stretches over the limit since."""
        for line in self._new(self._stretches, "_stretches_seen").splitlines():
            stretch_s = float(line.split()[1])
            self.longest_s = max(self.longest_s, stretch_s)
            if stretch_s > self._stretch_s:
                yield f"computed for {stretch_s * 1000:.0f} ms at a stretch"

    def _new(self, path: Path, seen: str) -> str:
        before = getattr(self, seen)
        if not path.exists() or path.stat().st_size <= before:
            return ""
        with path.open("rb") as file:
            file.seek(before)
            data = file.read()
        setattr(self, seen, before + len(data))
        return data.decode(errors="replace")


def watched(stack: Stack) -> None:
    """Put the probe into the stack's webs. To be called before they start."""
    for process in stack.webs:
        _with_probe(process, stack.directory / "stretches")


def _with_probe(process: Process, path: Path) -> None:
    probe = f"{ROOT / 'tests/fuzz/probe'}{os.pathsep}{process.env['PYTHONPATH']}"
    process.env = {**process.env, "PYTHONPATH": probe, "STRETCHES_FILE": str(path)}


@contextmanager
def fuzzed_stack(directory: Path, stretch_s: float = STRETCH_S) -> Iterator[tuple[Stack, Target]]:
    """A Redis, a watched web and a worker."""
    stack = Stack(directory, webs=1, workers=1)
    watched(stack)
    try:
        stack.start()
        yield stack, Target(stack, stretch_s)
    finally:
        stack.close()
