"""Durations as clients write them."""

from __future__ import annotations

import pytest

from web.intake.durations import seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("90m", 5400), ("24h", 86_400), ("7d", 604_800), ("0s", 0)])
def test_duration(text: str, seconds: int) -> None:
    """A number and a unit are a duration."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "1.5h", "-1h", " 1h", "1h ", "1H", "1w", "1h30m", "9" * 30 + "s"])
def test_no_duration(text: str) -> None:
    """Anything else is none."""
    assert seconds_of(text) is None
