"""Which number of jobs is tried next."""

from __future__ import annotations

import pytest

from bench.highest import is_held, next_jobs

_HELD = {"p99_ms": 99.0, "late_start_s": -1.0, "lost": 0.0, "errors": 0.0}


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ([], 1000),
        ([(1000, True)], 1200),
        ([(1000, True), (1200, True)], 1400),
        ([(1000, True), (1200, False)], 1100),
        ([(1000, True), (1200, False), (1100, True)], 0),
        ([(1000, True), (1200, False), (1100, False)], 0),
        ([(1000, False)], 800),
        ([(1000, False), (800, False)], 600),
        ([(1000, False), (800, True)], 900),
        ([(1000, False), (800, True), (900, True)], 0),
        ([(200, False)], 100),
        ([(200, False), (100, False)], 0),
    ],
)
def test_next_jobs(tried: list[tuple[int, bool]], expected: int) -> None:
    """Up from the first while it is held, down from it if it is not, and half a step back in the end."""
    assert next_jobs(tried, 1000) == expected


@pytest.mark.parametrize("wrong", [{"p99_ms": 100.0}, {"lost": 1.0}, {"errors": 1.0}, {"late_start_s": 0.1}])
def test_is_held_takes_nothing_that_is_wrong(wrong: dict[str, float]) -> None:
    """Late, lost, failed, or begun late: not held."""
    assert is_held(_HELD)
    assert not is_held(_HELD | wrong)
