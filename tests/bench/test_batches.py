"""The faults of the bench of a large batch."""

from __future__ import annotations

from collections import Counter

from bench.batches import plan


def test_plan_kills_each_process_twice_and_repeats_by_seed() -> None:
    """A seed gives the same faults again: each process twice, Redis once, in the order of their shares."""
    names = ["web0", "web1", "worker0", "worker1"]
    faults = plan(names, 7)
    assert Counter(name for _, name in faults) == {**dict.fromkeys(names, 2), "redis": 1}
    assert faults == sorted(faults) == plan(names, 7) != plan(names, 8)
