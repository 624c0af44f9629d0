"""Readers that are attached through a fault, one per job and transport, and when they went on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from tests.faults.crowd import Crowd
from tests.faults.following import Following
from tests.faults.transports import TRANSPORTS

TOLD = frozenset({"status 404", "status 410", "closed 4404", "closed 4410", "gone", "cut"})
"""How a connection ends whose reader knows then that nothing more comes."""


def attach(crowd: Crowd, jobs: Iterable[str], after: int = 0, **options: Any) -> list[Following]:
    """A reader on every transport of each of the jobs."""
    return [crowd.follow(job, transport, after, **options) for job in jobs for transport in TRANSPORTS]


def resumed(followings: Iterable[Following], at: float) -> list[float]:
    """How many seconds after ``at`` (monotonic) the next entry came to each reader that got one. Bare text has none."""
    firsts = (next((time for time in one.times if time > at), None) for one in followings)
    return [first - at for first in firsts if first is not None]


def seen(followings: Iterable[Following], job: str) -> int:
    """The last id that any of the readers of the job has."""
    return max(one.cursor for one in followings if one.job == job)


def figures(runs: int, seconds: Iterable[float], what: str = "readers") -> dict[str, float]:
    """What is said of so many times that somebody waited, over so many runs of a fault."""
    found = list(seconds)
    times = {"p50_s": round(statistics.median(found), 2), "max_s": round(max(found), 2)}
    return {"runs": runs, what: len(found), **times}


def untold(followings: Iterable[Following]) -> list[str]:
    """Those readers of a job that Redis has lost who were not told so, or hang. They must have been told 404 or 410, or
    that all from their cursor on is missing; of bare text, which has no word for it, the connection is cut."""
    return [str(one) for one in followings if not one.finished or one.ended or not _was_told(one)]


def _was_told(one: Following) -> bool:
    nothing_left = bool(one.gaps) and one.gaps[-1]["earliest"] is None
    return one.turns[-1] in TOLD or nothing_left
