"""The limits of a key."""

from __future__ import annotations

from typing import Any

import pytest

from spool.access.limits import KeyLimits


def test_limits_are_read_as_they_are_written() -> None:
    """Only the limits that are set are stored."""
    limits = KeyLimits.of({"streams": 3, "tokens_per_day": 10})
    assert limits.document() == {"streams": 3, "tokens_per_day": 10}
    assert limits.encode() == b'{"streams":3,"tokens_per_day":10}'


@pytest.mark.parametrize(
    "values", [{"steams": 3}, {"streams": -1}, {"streams": True}, {"streams": 1.5}, {"streams": 10**13}]
)
def test_wrong_limits_are_refused(values: dict[str, Any]) -> None:
    """The message names the limit."""
    with pytest.raises(ValueError, match="streams"):
        KeyLimits.of(values)
