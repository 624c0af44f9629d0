"""What the services of a run say about its fairness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.fair.slots import TOKENS_A_S, Service
from bench.fair.trace import Work


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 if all shares are equal, 1/n if one has everything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def tokens_by_weight(
    works: Iterable[Work], services: Iterable[Service], until_s: float, from_s: float = 0.0
) -> list[float]:
    """Tokens that each owner was given in this time, divided by its weight."""
    given = {work.owner: 0.0 for work in works}
    for service in services:
        tokens = service.tokens_until(until_s) - service.tokens_until(from_s)
        given[service.work.owner] += tokens / service.work.weight
    return list(given.values())


@dataclass(frozen=True, slots=True)
class Late:
    """How the late owner fared: when its first job began and its last one ended, in seconds from its submit (infinite:
    not in the run), and the latter as a multiple of ``fair_s``: when its jobs, run on its part of the slots, would have
    ended."""

    first_s: float
    last_s: float
    fair_s: float

    def __str__(self) -> str:
        if math.isinf(self.last_s):
            return "not in the run"
        return f"{self.first_s:.1f} s, {self.last_s / self.fair_s:.2f} x"


def late(works: Sequence[Work], services: Iterable[Service], slots: float, arrived_s: float) -> Late:
    """The figures of the owner of these jobs, whose part is so many slots."""
    given = [service for service in services if service.work.owner == works[0].owner]
    first_s = min((service.begin_s for service in given), default=math.inf)
    last_s = max(service.end_s for service in given) if len(given) == len(works) else math.inf
    fair_s = sum(work.tokens for work in works) / TOKENS_A_S / slots
    return Late(first_s - arrived_s, last_s - arrived_s, fair_s)
