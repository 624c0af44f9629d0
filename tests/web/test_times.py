"""Times in requests."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from web.times import Time

TIME: TypeAdapter[Time] = TypeAdapter(Time)


@pytest.mark.parametrize("text", ["2026-11-30T09:00:00Z", "2026-11-30t09:00:00.123+02:00", "0001-01-01T00:00:00+23:59"])
def test_time(text: str) -> None:
    """A time with its offset, of any year."""
    assert TIME.validate_python(text).isoformat().startswith(text[:10])


@pytest.mark.parametrize(
    "value",
    ["20261130", "1796000000", "-1", "1.0", "+1", "", " ", "2026-11-30", "2026-11-30T09:00:00", "x", 1796000000, True],
)
def test_what_is_no_time(value: object) -> None:
    """Neither a number nor its digits are: by their size they would be seconds or milliseconds. Nor a local time."""
    with pytest.raises(ValidationError):
        TIME.validate_python(value)
