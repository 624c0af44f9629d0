"""Offsets that clients compare as texts, and cursors that never go back."""

from __future__ import annotations

import pytest

from web.durable_streams.offsets import entry_before, next_cursor, offset_of
from web.problems import Problem


@pytest.mark.parametrize("entry_id", [0, 1, 9, 10, 600_000, 10**15])
def test_offset_leads_back(entry_id: int) -> None:
    """An offset names its place, and no reserved one."""
    assert entry_before(offset_of(entry_id), last=5) == entry_id


def test_offsets_are_in_order() -> None:
    """The order of offsets as texts is that of their places."""
    offsets = [offset_of(entry_id) for entry_id in (0, 2, 10, 99, 100, 10**9)]
    assert offsets == sorted(offsets)


@pytest.mark.parametrize(("offset", "entry_id"), [(None, 0), ("-1", 0), ("now", 5)])
def test_reserved_offsets(offset: str | None, entry_id: int) -> None:
    """The start and the end have names of their own."""
    assert entry_before(offset, last=5) == entry_id


@pytest.mark.parametrize("offset", ["", "5", "-2", "latest", "0" * 17, "0" * 19, "\u0660" * 18])
def test_wrong_offset(offset: str) -> None:
    """Any other text is refused, and never taken for the start."""
    with pytest.raises(Problem) as caught:
        entry_before(offset, last=5)
    assert caught.value.status == 400


def test_cursor() -> None:
    """It is the number of the interval, and always larger than the client's."""
    assert next_cursor("", 1_728_432_000 + 205.0) == "10"
    assert next_cursor("3", 1_728_432_000 + 205.0) == "10"
    assert int(next_cursor("10", 1_728_432_000 + 205.0)) > 10
    assert next_cursor("x", 1_728_432_000 + 205.0) == "10"
