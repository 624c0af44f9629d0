"""Percentiles of measured values."""

from __future__ import annotations

from collections.abc import Iterable


def percentile(values: Iterable[float], part: float) -> float:
    """The value that ``part`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
