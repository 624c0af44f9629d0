"""What an upstream's rate limit headers say."""

from __future__ import annotations

import pytest

from worker.backends.openai.rate_headers import duration_s, exhausted


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("6m0s", 360.0), ("120ms", 0.12), ("1h2m3.5s4ms", 3723.504), ("2.5", 2.5), ("7", 7.0)],
)
def test_duration(text: str, seconds: float) -> None:
    """Durations as OpenAI writes them, and plain seconds."""
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "1d", "-1", "s", "1s1m"])
def test_no_duration(text: str) -> None:
    """Anything else is no duration."""
    assert duration_s(text) is None


def test_nothing_left() -> None:
    """The upstream is exhausted until all that it has nothing left of is renewed."""
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert exhausted(headers) == ("tokens", 360.0)


def test_something_left() -> None:
    """It is not exhausted while something is left, or if it does not say when that is renewed."""
    assert exhausted({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "1s"}) is None
    assert exhausted({"x-ratelimit-remaining-requests": "0"}) is None
    assert exhausted({}) is None
