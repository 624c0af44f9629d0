"""Loops that break again and again."""

from __future__ import annotations

import pytest

from spool.repeated_errors import STEADY_S, Breaks
from tests.clock import Clock


def fail(text: str) -> Exception:
    """An error that was raised, always at the same place."""
    try:
        raise ValueError(text)
    except ValueError as exc:
        return exc


def fail_elsewhere() -> Exception:
    """Another bug."""
    try:
        raise KeyError("x")
    except KeyError as exc:
        return exc


def test_loop_that_breaks_for_long(caplog: pytest.LogCaptureFixture) -> None:
    """One traceback when it begins, whatever the messages say, and one line with the count once it is over."""
    clock = Clock()
    breaks = Breaks("the keeper", clock)
    for number in range(1000):
        breaks.broke(fail(f"message {number}"))
        clock.now += 1
        breaks.look()
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None
    clock.now += STEADY_S
    for _ in range(3):
        breaks.look()
    assert [one.getMessage() for one in caplog.records[1:]] == ["the keeper runs again; it broke 1000 times in 999 s"]
    breaks.broke(fail("again"))
    assert len(caplog.records) == 3


def test_loop_that_breaks_in_another_way(caplog: pytest.LogCaptureFixture) -> None:
    """Another bug is logged, too, once."""
    breaks = Breaks("the keeper", Clock())
    for _ in range(10):
        breaks.broke(fail("a"))
        breaks.broke(fail_elsewhere())
    assert [one.exc_info[0] for one in caplog.records if one.exc_info] == [ValueError, KeyError]
