"""The pauses after refusals."""

from __future__ import annotations

import pytest

from worker.backends.openai.backoff import Backoff, Refusal


@pytest.mark.parametrize(("refusals", "most_s"), [(1, 1.0), (2, 2.0), (4, 8.0), (99, 60.0)], ids=repr)
def test_pause_doubles_up_to_its_limit(refusals: int, most_s: float) -> None:
    """A pause is between half and all of its step, so that workers do not call at the same moment."""
    assert most_s / 2 <= Backoff().delay_s(refusals) <= most_s


@pytest.mark.parametrize(
    ("asked_s", "least_s", "most_s"), [(30.0, 30.0, 33.0), (0.0, 1.0, 1.1), (9999.0, 300.0, 330.0)], ids=repr
)
def test_upstreams_request_is_followed_within_limits(asked_s: float, least_s: float, most_s: float) -> None:
    """A Retry-After is waited out, never less than the first step, and never longer than its limit."""
    assert least_s <= Backoff().delay_s(1, asked_s) <= most_s


def test_time_left_is_never_negative() -> None:
    """A refusal whose time has passed leaves nothing to wait for."""
    assert Refusal("HTTP 503", until=float("-inf")).left_s == 0
