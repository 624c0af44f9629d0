"""What the services of a run say about its fairness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.fair.slots import TOKENS_A_S, Service
from bench.fair.trace import Work


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 if all shares are equal, 1/n if one has everything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def tokens_by_weight(works: Iterable[Work], services: Iterable[Service], until_s: float) -> list[float]:
    """Tokens that each owner was given until this time, divided by its weight."""
    given = {work.owner: 0.0 for work in works}
    for service in services:
        given[service.work.owner] += service.tokens_until(until_s) / service.work.weight
    return list(given.values())


def fair_end_s(works: Sequence[Work], slots: float) -> float:
    """When these jobs, the only ones of their owner, would have ended on its part of the slots."""
    return works[0].at_s + sum(work.tokens for work in works) / TOKENS_A_S / slots
