"""Inputs: a compressed one reads as the one that was submitted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spool.jobs.input_packing import HEAD_BYTES, pack_input, packed_size, packing_steps, unpack_input


@settings(max_examples=40)
@given(st.text().map(lambda text: b'{"messages":["%b"]}' % (text.encode("utf-8", "replace") * 9)))
def test_input_is_what_was_submitted(raw: bytes) -> None:
    """Compressed or not, the same bytes come back, and their number is known from the first ones."""
    packed = pack_input(raw)
    assert unpack_input(packed or raw) == raw
    assert packed_size((packed or raw)[:HEAD_BYTES]) == (len(raw) if packed else None)


def test_input_stays_where_nothing_is_saved() -> None:
    """A short input, or one that is compressed already, is left as it is."""
    assert pack_input(b'{"messages":[]}') is None
    packed = pack_input(b'{"messages":["%b"]}' % (b"word " * 100))
    assert packed is not None
    assert pack_input(packed) is None


def test_long_input_is_packed_in_steps() -> None:
    """A megabyte, which takes tens of milliseconds, is packed in steps of about one."""
    raw = b'{"messages":["%b"]}' % (b"many words, " * 90_000)
    steps = list(packing_steps(raw))
    assert len(steps) > 50
    assert unpack_input(pack_input(raw) or b"") == raw


@pytest.mark.parametrize("stored", [b"z9\nnonsense", b"z100\n"], ids=["no deflate", "empty"])
def test_damaged_input_is_refused(stored: bytes) -> None:
    """It is an error of the value, as for input that is no JSON."""
    with pytest.raises(ValueError, match="damaged"):
        unpack_input(stored)
