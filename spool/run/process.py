"""One supervised program: its own process group, its output in lines, a pause before each restart."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from spool.run.liveness import Pulse

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 10.0
STEADY_S = 30.0
"""A program that lived so long was well; its next restart is immediate again."""

_MAX_LINE = 64 * 1024
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how it likes to be treated.

    ``ready`` is asked again and again after the start and must return soon; the next stage waits until it
    says yes, at most ``start_s``. ``stop_s``: seconds from SIGTERM to SIGKILL; when somebody is in a hurry,
    ``hurry_signal`` is sent and ``hurry_s`` counts. ``orphan_signal`` is what it gets if the supervisor is
    killed itself (Linux).
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    ready: Callable[[], bool] = lambda: True
    start_s: float = 30.0
    stop_s: float = 10.0
    hurry_s: float = 2.0
    hurry_signal: signal.Signals = signal.SIGQUIT
    orphan_signal: signal.Signals = signal.SIGQUIT
    serves_at: tuple[str, int] | None = None
    """Where it answers ``GET /livez``, if it serves HTTP: killed and started again when it does not any more."""


class Lines:
    """Whole lines out of pieces of bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without their ends. A line over 64 KiB is given out in parts."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [line.rstrip(b"\r") for line in lines]

    def flush(self) -> list[bytes]:
        """What came after the last line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class Backoff:
    """How long to wait before a restart: doubling from 0.2 s to 10 s, reset by 30 s of life."""

    def __init__(self) -> None:
        self._next_s = BACKOFF_MIN_S

    def after(self, lived_s: float) -> float:
        """Seconds to wait before starting again a program that lived ``lived_s``."""
        if lived_s >= STEADY_S:
            self._next_s = BACKOFF_MIN_S
        wait_s = self._next_s
        self._next_s = min(BACKOFF_MAX_S, wait_s * 2)
        return wait_s


class Child:
    """One life after the other of a ``Program``. Knows processes, no policy: the supervisor has that."""

    def __init__(self, program: Program, clock: Callable[[], float] = time.monotonic) -> None:
        self.program = program
        self.backoff = Backoff()
        self.lines = Lines()
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at: float | None = None
        """When to start it (again), on ``clock``; ``None``: it runs, or never will again."""
        self.is_ready = False
        self.pulse = Pulse(*program.serves_at, clock) if program.serves_at else None
        self._clock = clock
        self._started_at = 0.0

    @property
    def name(self) -> str:
        """Its name in the output."""
        return self.program.name

    @property
    def running(self) -> bool:
        """Whether there is a process that has not been reaped."""
        return self.process is not None

    @property
    def output_fd(self) -> int:
        """The pipe with its output, both streams. Only while there is a process."""
        if self.process is None or self.process.stdout is None:
            raise RuntimeError(f"{self.name} is not running")
        return self.process.stdout.fileno()

    def start(self) -> None:
        """Start it; ``OSError`` if there is no such program."""
        self.start_at = None
        self.is_ready = False
        self._started_at = self._clock()
        supervisor = os.getpid()
        self.process = subprocess.Popen(  # noqa: S603
            list(self.program.argv),
            env=dict(self.program.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A session of its own: the terminal's Ctrl-C reaches the supervisor alone, and that stops things
            # in order.
            start_new_session=True,
            # Runs between fork and exec. Safe here because the supervisor has no threads.
            preexec_fn=lambda: _die_with(supervisor, self.program.orphan_signal),
        )
        os.set_blocking(self.output_fd, False)

    def probe(self) -> None:
        """Ask whether it is ready, until it has been."""
        if self.running and not self.is_ready:
            self.is_ready = self.program.ready()
            if self.is_ready and self.pulse is not None:
                self.pulse.begin()

    @property
    def ask_at(self) -> float | None:
        """When to ask next whether it hangs; None where that is not to be asked."""
        return self.pulse.due_at if self.pulse is not None and self.running and self.is_ready else None

    def read(self) -> tuple[list[bytes], bool]:
        """The whole lines that have come since, and whether the output has been closed. Never waits.

        One pipe's fill at a time, so that a program which never stops talking leaves the others their turn.
        """
        try:
            data = os.read(self.output_fd, 65_536)
        except BlockingIOError:
            return [], False
        return self.lines.feed(data), not data

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process is not None and self.process.poll() is not None

    def reap(self) -> tuple[list[bytes], str, float]:
        """Tidy up after the end: its last lines, how it ended in words, seconds that it lived.

        What is left of its group is killed: the workers of a gunicorn whose master died would keep the port.
        """
        if self.process is None or self.process.stdout is None:
            raise RuntimeError(f"{self.name} is not running")
        self.kill_group()
        lines: list[bytes] = []
        while data := self._read_rest():
            lines += self.lines.feed(data)
        lines += self.lines.flush()
        self.process.stdout.close()
        if self.pulse is not None:
            self.pulse.end()
        status = describe(self.process.returncode)
        self.process = None
        return lines, status, self._clock() - self._started_at

    def _read_rest(self) -> bytes:
        try:
            return os.read(self.output_fd, 65_536)
        except BlockingIOError:
            return b""

    def signal(self, number: signal.Signals) -> None:
        """Send ``number`` to the program itself, which passes it on as it sees fit."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill_group(self) -> None:
        """SIGKILL to everything that it started and that stayed in its group."""
        if self.process is not None:
            # PermissionError: macOS says so of a group of which only zombies are left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


def describe(returncode: int) -> str:
    """An exit status in words: ``exit status 3``, ``SIGKILL``."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def _load_prctl() -> Callable[..., int] | None:
    # In advance: between fork and exec there should be no imports.
    if not sys.platform.startswith("linux"):
        return None
    with suppress(OSError, AttributeError):
        prctl: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
        return prctl
    return None


_prctl = _load_prctl()


def _die_with(supervisor: int, number: signal.Signals) -> None:
    """Ask Linux to send us ``number`` when the supervisor dies, however it dies.

    Without it, a SIGKILLed supervisor leaves programs that nobody watches, and that hold the port. (Elsewhere
    the next start ends the server that was left behind; see ``spool.run.embedded``.)
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != supervisor:  # it died before we asked
            os._exit(1)
