"""Time slices: a request with long work yields to the other requests and streams of its process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import gevent

from web.rounds import ROUNDS

SLICE_S = 0.004
"""Seconds that a request computes before it yields."""
_PAUSE_S = 0.001
"""The least seconds that others then run. ``sleep(0)`` gives one hub iteration, and one token needs more from Redis to
its reader."""

Item = TypeVar("Item")


def pause() -> None:
    """Yield to other greenlets. Requests that pause at the same moment continue in rounds."""
    gevent.sleep(_PAUSE_S)
    ROUNDS.enter()


class Slices:
    """The time slices of one piece of work. ``clock`` returns seconds; ``pause`` yields."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, pause: Callable[[], None] = pause) -> None:
        self._clock = clock
        self._pause = pause
        self._until = clock() + SLICE_S

    def check(self) -> None:
        """Pause if this slice is used up."""
        if self._clock() >= self._until:
            self._pause()
            self._until = self._clock() + SLICE_S


def in_slices(items: Iterable[Item], slices: Slices | None = None) -> Iterator[Item]:
    """The items; pauses before an item whenever the slice is used up."""
    slices = slices or Slices()
    for item in items:
        slices.check()
        yield item
