"""Time as one object."""

from __future__ import annotations

import math

from spool.deadline import Deadline


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """What it shows."""
        return self.now


def test_deadline_that_comes() -> None:
    """Time runs down to nothing, and not below."""
    clock = Clock()
    deadline = Deadline.after(10, clock)
    assert (deadline.left_s, deadline.passed) == (10, False)
    clock.now = 109.5
    assert (deadline.left_s, deadline.passed) == (0.5, False)
    clock.now = 110
    assert (deadline.left_s, deadline.passed) == (0, True)
    clock.now = 200
    assert (deadline.left_s, deadline.passed) == (0, True)


def test_deadline_that_never_comes() -> None:
    """One that never comes always leaves time."""
    assert (Deadline.never().left_s, Deadline.never().passed) == (math.inf, False)


def test_deadline_caps_a_wait() -> None:
    """One wait takes as long as it may, or as is left."""
    clock = Clock()
    deadline = Deadline.after(10, clock)
    assert (deadline.capped_s(3), deadline.capped_s(30)) == (3, 10)
    clock.now = 108
    assert deadline.capped_s(3) == 2
    assert Deadline.never().capped_s(3) == 3


def test_deadline_in_the_past() -> None:
    """One that is set in the past has come."""
    assert Deadline.after(-1).passed
