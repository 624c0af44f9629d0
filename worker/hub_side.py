"""The bridge between the heartbeat's thread and the hub: the only place where the two exchange data."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from spool.hub import from_threads
from spool.jobs.claims import Held
from worker.ownership import OwnedAttempts


class HubSide:
    """Create it in the hub's thread; the methods are safe to call from the heartbeat's thread. ``free`` returns the
    number of slots that a bell may be rung for. ``on_apart`` receives the number of jobs that wait in quarantine."""

    def __init__(self, jobs: OwnedAttempts, free: Callable[[], int], on_apart: Callable[[int], None]) -> None:
        self._jobs = jobs
        self._free = free
        self._on_apart = on_apart
        self._in_hub = from_threads()

    @property
    def reported_free(self) -> int:
        """Slots that a bell may be rung for."""
        return self._free()

    def held(self, *, with_ended: bool, server: str) -> list[Held]:
        """The attempts that a beat must report; see ``OwnedAttempts.held``."""
        return self._jobs.held(with_ended=with_ended, server=server)

    def whole(self, found: list[Held], server: str) -> None:
        """Mark these logs as complete on this run of Redis."""
        self._jobs.whole(found, server)

    def answered(self, answers: list[tuple[Held, bytes | int]], apart: int) -> None:
        """Pass Redis's answers on to the hub; ``apart`` jobs wait in quarantine."""
        if answers or apart:
            self._in_hub(self._answered, answers, apart)

    def settled(self, began: float) -> None:
        """Record that Redis had lost nothing at ``began`` (monotonic)."""
        self._in_hub(self._jobs.forget, began)

    def _answered(self, answers: list[tuple[Held, bytes | int]], apart: int) -> None:
        for held, answer in answers:
            self._jobs.answered(held, answer)
        if apart:
            # In a greenlet: this runs in the hub, where nothing may block.
            gevent.spawn(self._on_apart, apart)
