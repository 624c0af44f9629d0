"""How a job's text is put together: as its record has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.jobs.coalescing import CHARS, CHARS_AT_MOST, MS_AT_MOST, Coalescing


@given(st.integers(0, MS_AT_MOST), st.integers(1, CHARS_AT_MOST), st.booleans())
def test_decode_is_the_opposite_of_encode(ms: int, chars: int, sentence_end: bool) -> None:
    """What is written is read again, and is short enough for Redis to keep a record in its small form (64 bytes)."""
    how = Coalescing(ms, chars, sentence_end)
    assert Coalescing.decode(how.encode().decode()) == how
    assert len(how.encode()) <= 64


@pytest.mark.parametrize("raw", [None, ""])
def test_decode_of_nothing(raw: str | None) -> None:
    """A record without it means that nothing is put together."""
    assert Coalescing.decode(raw) is None


def test_decode_of_a_later_version() -> None:
    """Fields that this version does not know are left alone."""
    assert Coalescing.decode('{"ms":5,"chars":7,"sentence_end":true,"words":3}') == Coalescing(5, 7, True)


@pytest.mark.parametrize("raw", ["{", "7", "[]", "{}", '{"ms":"x","chars":1,"sentence_end":false}'])
def test_decode_of_anything_else(raw: str) -> None:
    """What cannot be read is an error that the record's reader knows."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        Coalescing.decode(raw)


def test_as_the_api_shows_it() -> None:
    """All three fields are shown."""
    assert Coalescing(5).public() == {"ms": 5, "chars": CHARS, "sentence_end": False}
