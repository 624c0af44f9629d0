"""What comes seldom is not held back; what comes in thousands a second is, for a bounded time."""

from __future__ import annotations

import pytest

from worker.adaptive_delay import AdaptiveDelay


def gap_at(per_second: int, seconds: float = 1.0) -> float:
    """The gap after so many have come each second, in groups a millisecond apart."""
    moderation = AdaptiveDelay()
    for ms in range(1, round(seconds * 1000)):
        moderation.add(per_second // 1000, ms / 1000)
    return moderation.gap_s


@pytest.mark.parametrize("per_second", [1000, 5000])
def test_few_are_not_held_back(per_second: int) -> None:
    """Where there is room for a group each, nobody waits for company."""
    assert gap_at(per_second) == 0.0


def test_more_are_held_back_for_longer() -> None:
    """The gap grows with the rate."""
    assert 0.0 < gap_at(10_000) < gap_at(20_000) < 0.002


def test_gap_is_bounded() -> None:
    """Two milliseconds, however much there is."""
    assert gap_at(1_000_000) == 0.002


def test_rate_falls() -> None:
    """After the rush nobody is held back any more."""
    moderation = AdaptiveDelay()
    for ms in range(1, 1000):
        moderation.add(40, ms / 1000)
    moderation.add(1, 1.5)
    assert moderation.gap_s == 0.0
