"""How well a process keeps up: the delay of its event loop, and its pauses for garbage collection."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import gevent

import spool
from spool.metrics import BUILD, GC_PAUSES, LOOP_LAG

_EVERY_S = 0.5
_FULL = 2


class PauseWatch:
    """Measures full garbage collections. ``clock`` is in seconds."""

    def __init__(self, observe: Callable[[float], object], clock: Callable[[], float] = time.perf_counter) -> None:
        self._observe = observe
        self._clock = clock
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """A callback of ``gc.callbacks``."""
        if info["generation"] < _FULL:
            return
        if phase == "start":
            self._began = self._clock()
        else:
            self._observe(self._clock() - self._began)


def watch(program: str, schema: int) -> Callable[[], None]:
    """Begin to measure this process, which reads records up to ``schema``. Returns the loop, without an end, that
    measures the delay of its event loop."""
    BUILD.labels(spool.__version__, str(schema)).set(1)
    gc.callbacks.append(PauseWatch(GC_PAUSES.labels(program).observe))
    lag = LOOP_LAG.labels(program)

    def run() -> None:
        while True:
            due = time.monotonic() + _EVERY_S
            gevent.sleep(_EVERY_S)
            lag.observe(max(0.0, time.monotonic() - due))

    return run
