"""The faults of the bench of a large batch."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.batch_readings import Tally
from bench.batches import Outcome, plan
from bench.over_time import Samples


def test_plan_kills_each_process_twice_and_repeats_by_seed() -> None:
    """A seed gives the same faults again: each process twice, Redis once, in the order of their shares."""
    names = ["web0", "web1", "worker0", "worker1"]
    faults = plan(names, 7)
    assert Counter(name for _, name in faults) == {**dict.fromkeys(names, 2), "redis": 1}
    assert faults == sorted(faults) == plan(names, 7) != plan(names, 8)


@pytest.mark.parametrize(
    ("output", "errors", "is_exact"),
    [
        (["line-0", "line-1"], [], True),
        (["line-1"], ["line-0"], True),
        (["line-0"], [], False),
        (["line-0", "line-1"], ["line-1"], False),
        (["line-0", "line-2"], [], False),
    ],
    ids=["output", "both", "missing", "twice", "another"],
)
def test_each_line_once(output: list[str], errors: list[str], is_exact: bool) -> None:
    """A run is exact if each line is in one of the two files, once."""
    tally = Tally(2, end="done")
    for index in range(2):
        tally.add({"id": index + 1, "kind": "line", "batch_index": index, "status": "succeeded"})
    outcome = Outcome(tally, Samples(dict, 1.0), output=Counter(output), errors=Counter(errors))
    assert outcome.is_exact(2) is is_exact
    tally.end = ""
    assert not outcome.is_exact(2)
