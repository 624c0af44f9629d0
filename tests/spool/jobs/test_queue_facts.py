"""Positions: the jobs that begin before one, counted flow by flow, against a simulation of the claims."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.jobs.queue_facts import BATCH_EVERY, Flow, Flows, QueueFacts, read_facts, virtual_time

FACTS = QueueFacts(1000.0, waiting=0, running=0, workers=1)
flows = st.dictionaries(
    st.sampled_from([f"interactive:owner{n}:" for n in range(6)]),
    st.builds(Flow, st.integers(0, 50).map(float), st.integers(1, 8), st.integers(1, 9).map(float)),
    min_size=1,
)


def claimed(waiting: dict[str, Flow]) -> list[tuple[str, int]]:
    """The flow of each claim, and the number of its jobs before: the smallest virtual time first, then by name."""
    here = {name: flow.here for name, flow in waiting.items()}
    begun = dict.fromkeys(waiting, 0)
    order = []
    while here:
        name = min(here, key=lambda each: (here[each], each))
        order.append((name, begun[name]))
        begun[name] += 1
        here[name] += waiting[name].step
        if begun[name] == waiting[name].jobs:
            del here[name]
    return order


@given(flows)
def test_positions_of_a_class(waiting: dict[str, Flow]) -> None:
    """Each job's position is the number of claims before its own, whatever the flows' times, jobs and weights."""
    facts = QueueFacts(1000.0, 0, 0, 1, interactive=Flows(len(waiting), waiting))
    order = claimed(waiting)
    assert [facts.position(name, waiting[name].here, own) for name, own in order] == [
        (number, True) for number in range(len(order))
    ]


@pytest.mark.parametrize(
    ("flow", "own", "expected"),
    [("", 3, 3), ("interactive:a:", 0, 2), ("interactive:a:", 40, 44), ("batch:a:", 0, 21), ("batch:a:", 9, 101)],
    ids=["retry", "first", "share", "batch", "later batch"],
)
def test_positions_over_classes(flow: str, own: int, expected: int) -> None:
    """Retries are before both classes; a batch job has every twentieth claim while interactive jobs wait."""
    assert BATCH_EVERY == 20
    facts = QueueFacts(
        *(1000.0, 0, 0, 1, None, 2),
        Flows(1, {"interactive:a:": Flow(0.0, 90, 1.0)}),
        Flows(1, {"batch:a:": Flow(0.0, 50, 1.0)}),
    )
    assert facts.position(flow, 0.0, own) == (expected, True)


def test_position_beyond_the_known_flows() -> None:
    """Where more flows wait than are known, the position is an estimate, which counts half of the others."""
    known = {f"interactive:{n:03d}:": Flow(float(n), 1, 1.0) for n in range(10)}
    facts = QueueFacts(1000.0, 0, 0, 1, interactive=Flows(30, known))
    assert facts.position("interactive:999:", 50.0, 0) == (20, False)
    assert facts.position("interactive:003:", 3.0, 0) == (3, False)


def test_place_of_a_new_job() -> None:
    """A job joins its flow at the end; a flow that begins to wait starts with the one that is next."""
    flows_now = Flows(2, {"a": Flow(5.0, 3, 1.0), "b": Flow(7.0, 1, 1.0)})
    assert [flows_now.place_of_new(name) for name in ("a", "b", "c")] == [(5.0, 3), (7.0, 1), (5.0, 0)]
    assert Flows().place_of_new("a") == (0.0, 0)


@pytest.mark.parametrize(
    ("raw", "expected"), [(b"17", 17.0), (b"-1", 0.0), (b"-inf", 0.0), (b"inf", 1e15), (b"nan", 0.0), (b"1e99", 1e15)]
)
def test_virtual_time_that_is_damaged(raw: bytes, expected: float) -> None:
    """A virtual time that no flow has is bounded."""
    assert virtual_time(raw) == expected


@pytest.mark.parametrize(
    ("raw", "run_s"),
    [(None, None), (b"", None), (b"-5", None), (b"x", None), (b"1500", 1.5), (b"9" * 15, 1e6), (b"9" * 5000, 1e6)],
    ids=["none", "empty", "negative", "text", "usual", "too long", "far too long"],
)
def test_average_run(raw: bytes | None, run_s: float | None) -> None:
    """A damaged average does not make a time that no date can show, and no error."""
    assert read_facts([0, 0, 0, 0, raw, 0, [0], [0]]).run_s == run_s
