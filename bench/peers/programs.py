"""Programs that the peers need: fetched once, started, waited for. What goes wrong becomes ``SubjectUnavailable``."""

from __future__ import annotations

import resource
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.subject import SubjectUnavailable
from rig.process import Process, wait_for

_FETCH_S = 600
_START_S = 30


def fetch(directory: Path, pins: str, commands: Sequence[Sequence[str]]) -> None:
    """Run the commands in ``directory``, unless they succeeded there before with the same ``pins``."""
    fetched = directory / "fetched"
    if fetched.exists() and fetched.read_text() == pins:
        return
    directory.mkdir(parents=True, exist_ok=True)
    fetched.unlink(missing_ok=True)
    for command in commands:
        run(command, directory)
    fetched.write_text(pins)


def run(command: Sequence[str], directory: Path) -> str:
    """What the command printed. Raises ``SubjectUnavailable`` with its last lines if it cannot run, or fails."""
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=_FETCH_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise SubjectUnavailable(f"{command[0]}: {exc}") from exc
    if done.returncode:
        raise SubjectUnavailable(f"{' '.join(command)}: {_tail(done.stderr or done.stdout)}")
    return done.stdout


def start(process: Process, is_ready: Callable[[], bool]) -> None:
    """Start it and wait until it is ready. Raises ``SubjectUnavailable`` with its last lines if it ends before, or
    takes too long."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # one per stream, two where each has its Redis connection
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    process.start()
    try:
        wait_for(lambda: is_ready() or not process.running, f"{process.name} is ready", _START_S)
    except AssertionError as exc:
        raise SubjectUnavailable(str(exc)) from exc
    if not process.running:
        raise SubjectUnavailable(f"{process.name} ended: {_tail(process.output.read_text(errors='replace'))}")


def listens(port: int) -> bool:
    """Whether something accepts connections on that loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def socket_path(redis_url: str) -> str:
    """The path in ``unix:///…``."""
    return redis_url.removeprefix("unix://")


def _tail(output: str) -> str:
    return " | ".join(output.strip().splitlines()[-5:])
