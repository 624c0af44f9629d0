"""A reader of another caller's job, through an attack: what it notices, and what the stack's memory does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Self

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, let_pass
from tests.faults.latency import latencies_ms, percentile
from tests.faults.measured import measured
from tests.faults.vitals import processes_of
from tests.stack import Process, Stack

_TOKENS = 100_000
_SAMPLE_S = 0.1


class Bystander:
    """Reads a job of 50 tokens a second over SSE from the stack's first web, for the length of a ``with``.

    ``calm`` measures what it notices without the attack, ``attack`` what it notices during one; ``report`` says both.
    Memory is the resident memory of all webs and of all workers with their children, and Redis's ``used_memory``, each
    at its highest.
    """

    def __init__(self, stack: Stack, *, rate: int = 50) -> None:
        self._stack = stack
        self._crowd = Crowd([stack.webs[0].url])
        self._job = Jobs(stack).submit("bystander", tokens=_TOKENS, rate=rate, stamp=True)
        self._calm = self._under_attack = (0.0, 0.0)
        self.memory_before: dict[str, float] = {}
        self.memory_most: dict[str, float] = {}
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._following = self._crowd.follow(self._job, "sse", within_s=600)
        Jobs(self._stack).wait_for_entries([self._job], 25)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._crowd.close()

    def calm(self, seconds: float = 5.0) -> None:
        """Let so much time pass without the attack."""
        began = time.monotonic()
        let_pass(seconds)
        self._calm = began, time.monotonic()
        self.memory_before = self._memory()
        self.memory_most = dict(self.memory_before)

    @contextmanager
    def attack(self) -> Iterator[None]:
        """What happens in the ``with`` is the attack."""
        sampler = threading.Thread(target=self._sample, daemon=True)
        self._over.clear()
        sampler.start()
        began = time.monotonic()
        try:
            yield
        finally:
            self._under_attack = began, time.monotonic()
            self._over.set()
            sampler.join()

    @property
    def p99_ms(self) -> tuple[float, float]:
        """The 99th percentile of how late tokens came, milliseconds: without, and with the attack."""
        spans = (self._calm, self._under_attack)
        found = [latencies_ms([self._following], *span) for span in spans]
        return percentile(found[0] or [0.0], 0.99), percentile(found[1] or [float("inf")], 0.99)

    @property
    def silence_s(self) -> float:
        """The longest time without an entry during the attack, seconds."""
        began, ended = self._under_attack
        times = [began, *(at for at in self._following.times if began <= at < ended), ended]
        return max(after - before for before, after in pairwise(times))

    @property
    def reconnects(self) -> int:
        """How often the reader lost its connection, in all."""
        return self._following.reconnects

    def grew_mb(self, what: str) -> float:
        """How much the memory of ``web``, ``worker`` or ``redis`` grew during the attack, at most."""
        return self.memory_most[what] - self.memory_before[what]

    def report(self, row: str, **figures: object) -> None:
        """Say what was measured, as a row of docs/security.md."""
        before, during = self.p99_ms
        memory = {
            f"{name}_mb": f"{self.memory_before[name]:.0f}, at most {most:.0f}"
            for name, most in self.memory_most.items()
        }
        measured(
            row,
            p99_ms=f"{before:.1f}, meanwhile {during:.1f}",
            silence_s=round(self.silence_s, 2),
            **memory,
            **figures,
        )

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            for name, value in self._memory().items():
                self.memory_most[name] = max(self.memory_most[name], value)

    def _memory(self) -> dict[str, float]:
        return {
            "web": sum(map(_rss_mb, self._stack.webs)),
            "worker": sum(map(_rss_mb, self._stack.workers)),
            "redis": int(self._stack.redis.info("memory")["used_memory"]) / 2**20,
        }


def _rss_mb(process: Process) -> float:
    found = 0.0
    for pid in [process.pid, *processes_of(process)]:
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0) / 1024
    return found
