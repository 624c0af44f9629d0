"""One worker process: starts its background work, and drains it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from spool.background import spawn_forever
from spool.bell import Bell
from spool.deadline import Deadline
from spool.fail_points import reach
from spool.models.table import ModelTable
from worker.attempt import HandBack
from worker.heartbeat import Heartbeat
from worker.neighbours import Neighbours
from worker.ownership import OwnedAttempts
from worker.slots import Slots
from worker.watchdog import Watchdog

log = logging.getLogger("spool.worker")

_LIMITS_S = 0.25
_HAND_BACK_S = 6.0
_LEAVE_S = 2.0
_LOOK_S = 0.05
_MOMENT_S = 0.01


@dataclass(slots=True)
class WorkerProcess:
    """The parts of one process, which all its jobs share; ``worker.assembly`` builds them.

    ``bell`` is None in a quarantine process (``worker.quarantine``): it claims quarantined jobs only, and no bell rings
    for it. ``draining`` is set once the process claims nothing more. ``loops`` run in greenlets for ever.
    """

    name: str
    models: ModelTable
    bell: Bell | None
    slots: Slots
    attempts: OwnedAttempts
    heartbeat: Heartbeat
    watchdog: Watchdog
    neighbours: Neighbours
    draining: Event
    drain_s: float
    loops: Sequence[Callable[[], None]]
    _thread: ThreadPool = field(default_factory=partial(ThreadPool, 1))

    def start(self) -> None:
        """Start the background work."""
        self.neighbours.join()
        for loop in (*self.loops, self._check_limits):
            spawn_forever(loop)
        if self.bell is not None:
            self.bell.start()
        self._thread.spawn(self.heartbeat.run)

    @property
    def is_quiet(self) -> bool:
        """Whether no job runs."""
        return not self.attempts.running

    def rung(self) -> None:
        """Handle a bell: claim and run jobs."""
        reach("bell.heard")
        self.slots.rung()

    def drain(self) -> None:
        """Stop claiming, wait up to the drain time for running jobs, then hand back the rest."""
        self.draining.set()
        deadline = Deadline.after(self.drain_s)
        while self.slots.busy and not deadline.passed:
            gevent.sleep(_LOOK_S)
        self._hand_all_back()
        self.heartbeat.stop()
        deadline = Deadline.after(_LEAVE_S)
        while not self.heartbeat.left and not deadline.passed:
            gevent.sleep(_MOMENT_S)
        self.neighbours.leave()
        # gevent would wait 5 s for an idle thread of its pool before the process ends.
        self._thread.kill()

    def _hand_all_back(self) -> None:
        """Hand back the running jobs and those that outstanding claims bring."""
        # A greenlet that is killed before its first switch never runs, so it would not hand its job back.
        gevent.sleep(0)
        deadline = Deadline.after(_HAND_BACK_S)
        running = [one.greenlet for one in self.attempts.running.values()]
        if running:
            log.info("handing back %d jobs", len(running))
        with suppress(gevent.Timeout):
            gevent.killall(running, HandBack, timeout=deadline.left_s)
        while self.slots.busy and not deadline.passed:
            gevent.sleep(_MOMENT_S)

    def _check_limits(self) -> None:
        while True:
            gevent.sleep(_LIMITS_S)
            self.watchdog.ticked()
            self.attempts.check_limits(time.monotonic())
