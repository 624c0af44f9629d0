"""What can be done to a stack while it runs, by name; and how it is undone.

``do`` returns at once; what ends it (a start, a SIGCONT) is done by ``tick`` when it is due, and at the latest by
``heal``, after which every part runs and every proxy forwards.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from spool.errors import StoreUnavailable
from spool.keys import job as job_key
from tests.stack import Process, Stack, wait_for

_END_WITHIN_S = 25.0
"""After a SIGTERM: the drain of 1 s, handing back (6 s at most), leaving, and a busy machine."""


@dataclass
class Loss:
    """A job whose worker was killed or told to stop, and when (epoch); ``attempt`` is the one that it ran."""

    kind: str
    job: str
    attempt: int
    at: float


class Disturber:
    """Disturbs one stack. ``done`` counts what was done; ``violations`` says what did not end when told to."""

    def __init__(self, stack: Stack) -> None:
        self.done: Counter[str] = Counter()
        self.losses: list[Loss] = []
        self.violations: list[str] = []
        self._stack = stack
        self._due: list[tuple[float, Callable[[], bool]]] = []
        self._busy: set[str] = set()

    def do(self, kind: str, number: int = 0, hold_s: float = 0.0) -> bool:
        """Do it now. False: nothing was done, because that part is down or stopped already."""
        act = getattr(self, f"_{kind}")
        did = bool(act(number, time.monotonic() + hold_s))
        self.done[kind] += did
        return did

    def tick(self) -> None:
        """Undo what is due."""
        now = time.monotonic()
        ripe = [undo for at, undo in self._due if at <= now]
        self._due = [(at, undo) for at, undo in self._due if at > now]
        # What could not be undone yet, since the process is still on its way out, is tried again.
        self._due += [(now + 0.02, undo) for undo in ripe if not undo()]

    def heal(self) -> None:
        """Everything runs again, and serves."""
        wait_for(self._nothing_due, "what was done is undone", _END_WITHIN_S + 10)
        for process in self._processes():
            if not process.running:
                # It has ended by itself: the watchdog does that, and a supervisor would start it again.
                self.done[f"{process.name} ended by itself"] += 1
                process.start()
        self._stack.wait_ready()

    def _nothing_due(self) -> bool:
        self.tick()
        return not self._due

    def _processes(self) -> list[Process]:
        return [self._stack.redis, *self._stack.webs, *self._stack.workers]

    # Processes.

    def _signal(self, process: Process, number: signal.Signals, up_at: float, *, group: bool = False) -> bool:
        if process.name in self._busy or not process.running:
            return False
        self._busy.add(process.name)
        # Else the process alone: what it has started must see by itself that it is gone.
        (os.killpg if group else os.kill)(process.pid, number)
        give_up_at = time.monotonic() + _END_WITHIN_S

        def start() -> bool:
            if process.running:
                if time.monotonic() < give_up_at:
                    return False
                self.violations.append(f"{process.name} did not end within {_END_WITHIN_S:g} s of {number.name}")
                process.kill()
            self._busy.discard(process.name)
            process.start()
            return True

        self._due.append((up_at, start))
        return True

    def _pause(self, process: Process, until: float) -> bool:
        if process.name in self._busy or not process.running:
            return False
        self._busy.add(process.name)
        process.pause()

        def resume() -> bool:
            self._busy.discard(process.name)
            process.resume()
            return True

        self._due.append((until, resume))
        return True

    def _remember(self, kind: str, number: int) -> None:
        """Which jobs a worker runs, before something is done to it."""
        name, link = f":{self._stack.workers[number].pid}:", self._stack.redis.link
        try:
            for key in link.call("KEYS", "spool:*:running:*"):
                for job in link.call("ZRANGE", key, 0, -1):
                    worker, attempt = link.call("HMGET", job_key(job.decode()), "worker", "attempt")
                    if worker and name in worker.decode():
                        self.losses.append(Loss(kind, job.decode(), int(attempt), time.time()))
        except StoreUnavailable:
            # Redis is down as well: then this one is not measured.
            return

    def _worker_kill(self, number: int, until: float) -> bool:
        self._remember("worker_kill", number)
        return self._signal(self._stack.workers[number], signal.SIGKILL, until)

    def _worker_term(self, number: int, until: float) -> bool:
        self._remember("worker_term", number)
        return self._signal(self._stack.workers[number], signal.SIGTERM, until)

    def _worker_stop(self, number: int, until: float) -> bool:
        self._remember("worker_stop", number)
        return self._pause(self._stack.workers[number], until)

    def _web_kill(self, number: int, until: float) -> bool:
        # With its children, as a machine's end would; they themselves see a second later that their master is gone.
        return self._signal(self._stack.webs[number], signal.SIGKILL, until, group=True)

    def _web_term(self, number: int, until: float) -> bool:
        return self._signal(self._stack.webs[number], signal.SIGTERM, until)

    def _redis_term(self, _number: int, until: float) -> bool:
        return self._signal(self._stack.redis, signal.SIGTERM, until)

    def _redis_kill(self, _number: int, until: float) -> bool:
        return self._signal(self._stack.redis, signal.SIGKILL, until)

    def _redis_pause(self, _number: int, until: float) -> bool:
        return self._pause(self._stack.redis, until)

    # Connections, and what Redis forgets.

    def _redis_cut(self, _number: int, _until: float) -> bool:
        assert self._stack.redis_proxy is not None
        return self._stack.redis_proxy.cut() > 0

    def _broker_cut(self, _number: int, _until: float) -> bool:
        assert self._stack.broker_proxy is not None
        return self._stack.broker_proxy.cut() > 0

    def _script_flush(self, _number: int, _until: float) -> bool:
        return self._command("SCRIPT", "FLUSH")

    def _pubsub_kill(self, _number: int, _until: float) -> bool:
        return self._command("CLIENT", "KILL", "TYPE", "pubsub")

    def _command(self, *words: str) -> bool:
        if "redis" in self._busy:
            return False
        try:
            self._stack.redis.link.call(*words)
        except StoreUnavailable:
            return False
        return True
