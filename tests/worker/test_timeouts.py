"""Limits on a job's time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spool.models.model import Model
from tests.clock import Clock
from worker.timeouts import USAGE_S, AttemptTimeouts

MODEL = Model(name="m", backend="demo", first_token_s=10, between_tokens_s=3)


EPOCH_S = 1_700_000_000.0


def stopwatch_of(left_s: float) -> AttemptTimeouts:
    """One whose clocks stand still."""
    return AttemptTimeouts(MODEL, left_s=left_s, clock=Clock(1000.0), wall=Clock(EPOCH_S))


def code(stopwatch: AttemptTimeouts, in_s: float) -> str | None:
    """The limit that will be over then, if nothing comes until then."""
    passed = stopwatch.passed(1000.0 + in_s)
    return passed.code if passed is not None else None


def test_time_to_the_first_piece() -> None:
    """Until the first piece the model has its own, longer time."""
    stopwatch = stopwatch_of(left_s=100)
    assert code(stopwatch, 9.75) is None
    assert code(stopwatch, 10) == "first_token_timeout"


def test_comments_extend_the_time_up_to_a_limit_of_their_own() -> None:
    """An upstream that says that it is at work is given its time again, and not for ever; comments are no piece."""
    clock = Clock(1000.0)
    stopwatch = AttemptTimeouts(replace(MODEL, alive_s=25), left_s=1000, clock=clock)
    for now in (1008.0, 1016.0, 1024.0):
        clock.now = now
        stopwatch.alive()
    assert code(stopwatch, 24.75) is None
    assert code(stopwatch, 25) == "first_token_timeout"
    stopwatch.touch()
    assert code(stopwatch, 26.75) is None
    assert code(stopwatch, 27) == "token_timeout"
    clock.now = 1026.0
    stopwatch.alive()
    assert code(stopwatch, 28.75) is None


def test_comments_do_not_shorten_the_time() -> None:
    """A model whose own time is longer than that with comments keeps it."""
    stopwatch = AttemptTimeouts(replace(MODEL, alive_s=1), left_s=100, clock=Clock(1000.0))
    stopwatch.alive()
    assert code(stopwatch, 9.75) is None


def test_whole_answer_has_the_longest_time() -> None:
    """An answer in one piece may take as long as one with signs of life."""
    clock = Clock(1000.0)
    stopwatch = AttemptTimeouts(replace(MODEL, alive_s=25), left_s=1000, clock=clock)
    clock.now = 1002.0
    stopwatch.whole()
    assert code(stopwatch, 26.75) is None
    assert code(stopwatch, 27) == "first_token_timeout"


def test_complete_answer_is_waited_for_only_for_a_moment() -> None:
    """Once all of the answer has come, what was counted has a short time, whatever else comes."""
    stopwatch = stopwatch_of(left_s=100)
    stopwatch.complete()
    stopwatch.alive()
    assert code(stopwatch, USAGE_S - 0.25) is None
    assert code(stopwatch, USAGE_S) == "token_timeout"


def test_time_between_pieces() -> None:
    """After a piece the next one has the shorter time."""
    stopwatch = stopwatch_of(left_s=100)
    stopwatch.touch()
    assert code(stopwatch, 2.75) is None
    assert code(stopwatch, 3) == "token_timeout"
    stopwatch.touch()
    assert code(stopwatch, 2.75) is None


def test_time_in_total() -> None:
    """The job's own deadline comes before any other limit, pieces or not."""
    stopwatch = stopwatch_of(left_s=2)
    assert code(stopwatch, 1.75) is None
    assert code(stopwatch, 2) == "deadline_exceeded"
    stopwatch.touch()
    assert code(stopwatch, 50) == "deadline_exceeded"


@pytest.mark.parametrize("touched", [False, True])
def test_wait_that_the_upstream_asked_for(touched: bool) -> None:
    """Time that the upstream asked to be left alone does not count; the deadline goes on."""
    stopwatch = stopwatch_of(left_s=100)
    if touched:
        stopwatch.touch()
    stopwatch.wait_until(EPOCH_S + 20)
    assert code(stopwatch, 22.75 if touched else 29.75) is None
    assert code(stopwatch, 23 if touched else 30) == ("token_timeout" if touched else "first_token_timeout")
    assert code(stopwatch, 100) == "deadline_exceeded"


def test_wait_until_a_time_in_the_past() -> None:
    """A wait that is over already is none."""
    stopwatch = stopwatch_of(left_s=100)
    stopwatch.wait_until(0)
    assert code(stopwatch, 9.75) is None
    assert code(stopwatch, 10) == "first_token_timeout"
