"""Limits of requests over all processes: a moving window of 60 seconds in Redis, to the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from spool.keys import HOME
from spool.redis.link import RedisLink
from spool.redis.script import Script

WINDOW_S = 60
_SCRIPT = Script.of("door", (resources.files("spool.access") / "door.lua").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Counter:
    """One limit: the name of its count, and the most requests in any 60 seconds."""

    name: str
    limit: int


@dataclass(frozen=True, slots=True)
class State:
    """A counter after a reservation: the rest, and the seconds until some of it returns."""

    counter: Counter
    rest: int
    reset_s: int


class Door:
    """Reservations of requests. The same reservation sent twice, after its answer was lost, counts twice."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def reserve(self, counters: Sequence[Counter], wanted: int) -> tuple[int, list[State]]:
        """Reserve up to ``wanted`` requests on all counters. Returns how many, perhaps 0. Raises
        ``StoreUnavailable``."""
        pairs = [value for counter in counters for value in (counter.name, counter.limit)]
        granted, *rest = self._link.run(_SCRIPT, HOME, wanted, *pairs)
        states = zip(counters, rest[::2], rest[1::2], strict=True)
        return int(granted), [State(counter, int(left), int(reset_s)) for counter, left, reset_s in states]
