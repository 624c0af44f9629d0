"""The workload: jobs of several owners, in the order of submit."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST, LONGEST = 20, 2000
"""Tokens of a job."""
_KINDS = ((20, 400), (20, 2000), (500, 2000))
"""Each owner's jobs are short, of any length, or long: the shortest and the longest of them, in tokens."""


@dataclass(frozen=True, slots=True)
class Work:
    """A job to run: its owner, the owner's weight, its length in tokens, and its submit, in virtual seconds."""

    owner: str
    tokens: int
    weight: float = 1.0
    at_s: float = 0.0


def backlog(
    owners: int, tokens_each: int, weights: Sequence[float] = (1.0,), seed: int = 1, scale: float = 1.0
) -> list[Work]:
    """Jobs of so many owners, all waiting from the start. Each owner submits all of its jobs at once, owners in random
    order. ``tokens_each`` is what an owner of weight 1 is due; each submits at least the longest job's length more.
    ``scale`` makes all jobs shorter."""
    chance = random.Random(seed)
    blocks = []
    for number in range(owners):
        weight, kind = weights[number % len(weights)], _KINDS[number % len(_KINDS)]
        left, block = tokens_each * weight + LONGEST * scale, list[Work]()
        while left > 0:
            block.append(Work(f"owner{number}", _length(chance, *kind, scale), weight))
            left -= block[-1].tokens
        blocks.append(block)
    chance.shuffle(blocks)
    return [work for block in blocks for work in block]


def _length(chance: random.Random, shortest: int, longest: int, scale: float) -> int:
    return round(scale * math.exp(chance.uniform(math.log(shortest), math.log(longest))))


def late_comer(ahead: int, count: int, tokens: int) -> list[Work]:
    """Owner A's jobs, all from the start, and then owner B's, a second later."""
    return [Work("a", tokens)] * ahead + [Work("b", tokens, at_s=1.0)] * count
