"""One program that is started, stopped, killed and paused, and conditions that are waited for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parent.parent
T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, within_s: float = 60.0) -> T:
    """The condition's first true value; fails with what was awaited."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One program of the stack. Its output goes to a file, which a failing test can show."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str], directory: Path) -> None:
        self.name = name
        self.argv = argv
        self.env = env
        self.output = directory / f"{name}.log"
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._popen is not None
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start it, in a process group of its own."""
        with self.output.open("ab") as output:
            self._popen = subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        if self.running:
            os.killpg(self.pid, number)

    def pause(self) -> None:
        """SIGSTOP it and its children."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.signal(signal.SIGKILL)
        self.wait(60)

    def stop(self, within_s: float = 60.0) -> int:
        """SIGTERM, and wait; its exit status."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)
        return self.wait(within_s)

    def wait(self, within_s: float) -> int:
        """Wait for its end; kills what does not end in time, and fails."""
        assert self._popen is not None
        try:
            return self._popen.wait(within_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait(60)
            raise AssertionError(f"{self.name} did not end within {within_s:g} s; see {self.output}") from None

    def close(self) -> None:
        """Gone, whatever it takes."""
        if self.running:
            self.signal(signal.SIGKILL)
            assert self._popen is not None
            self._popen.wait(60)
