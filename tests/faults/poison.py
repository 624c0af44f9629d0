"""Jobs that kill the process they run in, each time; and somebody who starts dead workers again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.faults.jobs import Jobs
from tests.stack import Stack

_LOOK_S = 0.02


@contextmanager
def _looking(look: object) -> Iterator[None]:
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(_LOOK_S):
            look()  # type: ignore[operator]

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextmanager
def poisoned(jobs: Jobs, ids: Sequence[str]) -> Iterator[list[tuple[str, int]]]:
    """Whatever process runs one of these jobs is killed, that one alone: a worker, or a process that a worker has
    started for the job. Who was killed for which job, and when it was a process of its own, is in the list."""
    kills: list[tuple[str, int]] = []
    dead: set[tuple[str, str]] = set()

    def look() -> None:
        for job, name in zip(ids, jobs.fields(ids, "worker"), strict=True):
            attempt = (job, jobs.field(job, "attempt"))
            if name and attempt not in dead and jobs.field(job, "worker") == name:
                dead.add(attempt)
                pid = int(name.split(":")[1])
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills.append((job, pid))

    with _looking(look):
        yield kills


@contextmanager
def supervised(stack: Stack) -> Iterator[None]:
    """Workers that end are started again, as a supervisor would."""

    def look() -> None:
        for worker in stack.workers:
            if not worker.running:
                worker.start()

    with _looking(look):
        yield
