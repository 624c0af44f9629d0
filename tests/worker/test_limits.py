"""Limits on a job's time."""

from __future__ import annotations

import time

import pytest

from spool.models import Model
from worker.limits import Stopwatch

MODEL = Model(name="m", backend="demo", first_token_s=10, between_tokens_s=3)


def code(stopwatch: Stopwatch, in_s: float) -> str | None:
    """The limit that will be over then, if nothing comes until then."""
    passed = stopwatch.passed(time.monotonic() + in_s)
    return passed.code if passed is not None else None


def test_time_to_the_first_piece() -> None:
    """Until the first piece the model has its own, longer time."""
    stopwatch = Stopwatch(MODEL, left_s=100)
    assert code(stopwatch, 9.5) is None
    assert code(stopwatch, 10.5) == "first_token_timeout"


def test_time_between_pieces() -> None:
    """After a piece the next one has the shorter time."""
    stopwatch = Stopwatch(MODEL, left_s=100)
    stopwatch.touch()
    assert code(stopwatch, 2.5) is None
    assert code(stopwatch, 3.5) == "token_timeout"
    stopwatch.touch()
    assert code(stopwatch, 2.5) is None


def test_time_in_total() -> None:
    """The job's own deadline comes before any other limit, pieces or not."""
    stopwatch = Stopwatch(MODEL, left_s=2)
    assert code(stopwatch, 1.5) is None
    assert code(stopwatch, 2.5) == "deadline_exceeded"
    stopwatch.touch()
    assert code(stopwatch, 50) == "deadline_exceeded"


@pytest.mark.parametrize("touched", [False, True])
def test_wait_that_the_upstream_asked_for(touched: bool) -> None:
    """Time that the upstream asked to be left alone does not count; the deadline goes on."""
    stopwatch = Stopwatch(MODEL, left_s=100)
    if touched:
        stopwatch.touch()
    stopwatch.wait_until(time.time() + 20)
    assert code(stopwatch, 22) is None
    assert code(stopwatch, 31) == ("token_timeout" if touched else "first_token_timeout")
    assert code(stopwatch, 101) == "deadline_exceeded"


def test_wait_until_a_time_in_the_past() -> None:
    """A wait that is over already is none."""
    stopwatch = Stopwatch(MODEL, left_s=100)
    stopwatch.wait_until(0)
    assert code(stopwatch, 9.5) is None
    assert code(stopwatch, 10.5) == "first_token_timeout"
