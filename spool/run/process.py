"""One supervised program: its process group, its output as lines, and its restart backoff."""

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
"""A program that lived this long was healthy; its backoff starts again at ``BACKOFF_MIN_S``."""

_MAX_LINE = 64 * 1024
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run, and how to start and stop it.

    ``ready`` is polled after the start and must return soon; the next stage waits for it, at most ``start_s``.
    ``stop_s``: seconds from SIGTERM to SIGKILL. On a second stop signal, ``hurry_signal`` is sent and ``hurry_s``
    applies. ``orphan_signal`` is sent to the program if the supervisor itself is killed (Linux).
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
    """The address for ``GET /livez``, if it serves HTTP: a program that stops answering is killed and restarted."""


class Lines:
    """Splits pieces of bytes into complete lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without line ends. A line over 64 KiB is returned in parts."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [line.rstrip(b"\r") for line in lines]

    def flush(self) -> list[bytes]:
        """The rest after the last line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class Backoff:
    """The restart backoff: doubles from 0.2 s to 10 s, and is reset after 30 s of life."""

    def __init__(self) -> None:
        self._next_s = BACKOFF_MIN_S

    def after(self, lived_s: float) -> float:
        """Seconds to wait before the restart of a program that lived ``lived_s``."""
        if lived_s >= STEADY_S:
            self._next_s = BACKOFF_MIN_S
        wait_s = self._next_s
        self._next_s = min(BACKOFF_MAX_S, wait_s * 2)
        return wait_s


class Child:
    """The successive processes of a ``Program``. It contains no policy; the supervisor does."""

    def __init__(self, program: Program, clock: Callable[[], float] = time.monotonic) -> None:
        self.program = program
        self.backoff = Backoff()
        self.lines = Lines()
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at: float | None = None
        """When to start or restart it, on ``clock``; ``None`` if it runs, or will not be restarted."""
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
        """Whether there is an unreaped process."""
        return self.process is not None

    @property
    def output_fd(self) -> int:
        """The pipe with both of its output streams. Valid only while there is a process."""
        if self.process is None or self.process.stdout is None:
            raise RuntimeError(f"{self.name} is not running")
        return self.process.stdout.fileno()

    def start(self) -> None:
        """Start it. Raises ``OSError`` if there is no such program."""
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
            # Its own session: the terminal's Ctrl-C reaches only the supervisor, which stops the programs in order.
            start_new_session=True,
            # Runs between fork and exec. Safe here because the supervisor has no threads.
            preexec_fn=lambda: _die_with(supervisor, self.program.orphan_signal),
        )
        os.set_blocking(self.output_fd, False)

    def probe(self) -> None:
        """Check whether it is ready, until it has been."""
        if self.running and not self.is_ready:
            self.is_ready = self.program.ready()
            if self.is_ready and self.pulse is not None:
                self.pulse.begin()

    @property
    def ask_at(self) -> float | None:
        """When to check next whether it hangs; None if it is not checked."""
        return self.pulse.due_at if self.pulse is not None and self.running and self.is_ready else None

    def read(self) -> tuple[list[bytes], bool]:
        """The complete lines since the last call, and whether the output is closed. Never blocks.

        It reads at most one pipe buffer, so that a program with endless output does not starve the others.
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
        """Clean up after its end. Returns its last lines, its exit status as text, and its lifetime in seconds.

        The rest of its group is killed, because the workers of a dead gunicorn master would keep the port.
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
        """Send ``number`` only to the program's main process, which forwards it if needed."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill_group(self) -> None:
        """Send SIGKILL to its process group."""
        if self.process is not None:
            # PermissionError: macOS raises it for a group that consists of zombies.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


def describe(returncode: int) -> str:
    """An exit status as text: ``exit status 3``, ``SIGKILL``."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def _load_prctl() -> Callable[..., int] | None:
    # Loaded in advance, because code between fork and exec should not import.
    if not sys.platform.startswith("linux"):
        return None
    with suppress(OSError, AttributeError):
        prctl: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
        return prctl
    return None


_prctl = _load_prctl()


def _die_with(supervisor: int, number: signal.Signals) -> None:
    """Make Linux send ``number`` to this process when the supervisor dies for any reason.

    Without it, a SIGKILLed supervisor leaves unsupervised programs that hold the port. On other systems the next start
    ends the leftover server (see ``spool.run.embedded``).
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != supervisor:  # it died before the call
            os._exit(1)
