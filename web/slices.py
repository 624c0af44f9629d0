"""Time slices: long work of one request lets the other requests and streams of its process run in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import gevent

from web.rounds import ROUNDS

SLICE_S = 0.004
"""How long a request computes before the others run."""
_PAUSE_S = 0.001
"""How long they run then, at least: a single turn of the hub, as ``sleep(0)`` gives, is less than one token needs from
Redis to its reader."""

Item = TypeVar("Item")


def pause() -> None:
    """Let others run now. Requests that pause at the same moment continue in rounds."""
    gevent.sleep(_PAUSE_S)
    ROUNDS.enter()


class Slices:
    """The time slices of one piece of work. ``clock`` gives seconds; ``pause`` lets others run."""

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
    """The items, with a pause before an item whenever a slice is used up."""
    slices = slices or Slices()
    for item in items:
        slices.check()
        yield item
