"""Long jobs that are read, without and then with bursts of short ones beside them: do the short ones disturb?"""

from __future__ import annotations

import http.client
import threading

from bench.measure import Run, paced
from bench.spool_subject import SpoolSubject, submit
from bench.workloads import Workload
from rig.redis_server import Redis

_SHORT_JOBS = 300
_SHORT_TOKENS = 20
_SUBMITTERS = 4
_FIRST_AFTER_S = 5.0
_EVERY_S = 30.0
_ENDED_WITHIN_S = 60.0


def bursts(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """The same jobs twice in one run."""
    calm = paced(subject, redis, workload)
    with _Bursts(subject.stack.webs[0].port, times(workload)) as beside:
        disturbed = paced(subject, redis, workload)
    subject.wait_until_ended(_ENDED_WITHIN_S)
    figures = {f"calm_{name}": calm.figures[name] for name in ("p50_ms", "p99_ms", "max_ms")}
    figures |= {name: disturbed.figures[name] for name in ("p50_ms", "p99_ms", "max_ms")}
    figures |= {name: calm.figures[name] + disturbed.figures[name] for name in ("lost", "errors")}
    figures |= {"ratio": figures["p99_ms"] / max(0.001, figures["calm_p99_ms"]), "short_jobs": beside.accepted}
    return Run(figures, disturbed.cpu_us, disturbed.pss_kb, calm.sample or disturbed.sample, disturbed.busy)


def times(workload: Workload) -> list[float]:
    """When the bursts come, in seconds from the first submit of the long jobs: at least one of them."""
    first_s = workload.lead_s + min(_FIRST_AFTER_S, workload.seconds / 2)
    count = int(max(0.0, workload.lead_s + workload.seconds - first_s) // _EVERY_S) + 1
    return [first_s + number * _EVERY_S for number in range(count)]


class _Bursts:
    """Submits from threads, for the length of a ``with``."""

    def __init__(self, port: int, at_s: list[float]) -> None:
        self.accepted = 0
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._timers = [threading.Timer(begin_s, self._submit) for begin_s in at_s for _ in range(_SUBMITTERS)]

    def __enter__(self) -> _Bursts:
        for timer in self._timers:
            timer.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        for timer in self._timers:
            timer.cancel()
            timer.join()

    def _submit(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        for _ in range(_SHORT_JOBS // _SUBMITTERS):
            if self._over.is_set():
                break
            submit(connection, {"tokens": _SHORT_TOKENS, "rate": 0, "first_token_s": 0})
            with self._lock:
                self.accepted += 1
        connection.close()
