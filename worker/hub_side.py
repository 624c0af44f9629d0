"""What the heartbeat's thread asks of its process, and tells it: the one place where the two meet."""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent.hub import get_hub

from spool.jobs.claims import Held
from worker.ownership import OwnedAttempts


class HubSide:
    """To be made in the hub's thread; the rest is safe to call from the heartbeat's. ``free`` says how many slots a
    bell may be rung for, ``on_apart`` is told how many jobs wait for a process of their own."""

    def __init__(self, jobs: OwnedAttempts, free: Callable[[], int], on_apart: Callable[[int], None]) -> None:
        self._jobs = jobs
        self._free = free
        self._on_apart = on_apart
        self._loop = get_hub().loop

    @property
    def reported_free(self) -> int:
        """Slots that a bell may be rung for."""
        return self._free()

    def held(self, *, with_ended: bool, server: str) -> list[Held]:
        """The jobs that a beat has to speak for; see ``OwnedAttempts.held``."""
        return self._jobs.held(with_ended=with_ended, server=server)

    def whole(self, found: list[Held], server: str) -> None:
        """Nothing is missing of their logs."""
        self._jobs.whole(found, server)

    def answered(self, answers: list[tuple[Held, bytes | int]], apart: int) -> None:
        """What Redis said of some of them; ``apart`` jobs wait for a process of their own."""
        if answers or apart:
            self._loop.run_callback_threadsafe(self._answered, answers, apart)

    def settled(self, began: float) -> None:
        """At ``began`` (monotonic) Redis had lost nothing."""
        self._loop.run_callback_threadsafe(self._jobs.forget, began)

    def _answered(self, answers: list[tuple[Held, bytes | int]], apart: int) -> None:
        for held, answer in answers:
            self._jobs.answered(held, answer)
        if apart:
            # Not here: this runs in the hub, where nothing may wait.
            gevent.spawn(self._on_apart, apart)
