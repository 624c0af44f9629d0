"""Values are counted in JSON text as the parser would make them, wherever the text is split."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.backends.openai import json_bounds
from worker.backends.openai.json_bounds import MAX_COMMAS, MAX_EMBEDDED, MAX_PARTS, UNCHECKED_BYTES, Bounds, TooMuch

VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('a"\\[{,é', max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\[{,', max_size=3), inner, max_size=4),
    max_leaves=12,
)


def parts_of(value: object) -> int:
    """The arrays, objects, names and texts of a value."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(parts_of, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(parts_of, value))
    return int(isinstance(value, str))


def counted(chunks: list[bytes]) -> int:
    """The parts that the bounds count in these chunks."""
    bounds = Bounds()
    for chunk in chunks:
        bounds.feed(chunk)
    return bounds._parts


@given(VALUES, st.integers(1, 7))
def test_the_same_count_wherever_the_text_is_split(value: object, step: int) -> None:
    """The count is that of the parsed value, and does not depend on the reads."""
    raw = orjson.dumps(value)
    assert counted([raw[at : at + step] for at in range(0, len(raw), step)]) == counted([raw]) == parts_of(value)


@pytest.mark.parametrize("unit", [b"[],", b'{"":0},', b'"",'], ids=["arrays", "objects", "texts"])
def test_too_many_parts(unit: bytes) -> None:
    """Text that makes far more memory than it has bytes is refused."""
    with pytest.raises(TooMuch):
        json_bounds.check(b"[" + unit * MAX_PARTS + b"0]")


def test_too_many_numbers() -> None:
    """So is text with more numbers than are parsed in a short time."""
    with pytest.raises(TooMuch):
        json_bounds.check(b"[" + b"1," * (MAX_COMMAS + 1) + b"0]")


def test_long_text_is_one_part() -> None:
    """What stands in a string does not count: code, or a picture."""
    json_bounds.check(orjson.dumps({"content": '[{"a": 1}, ' * MAX_PARTS}))


def test_many_embeddings_fit() -> None:
    """2,048 embeddings of 1,536 numbers."""
    one = b'{"object":"embedding","index":0,"embedding":[' + b"0," * 1535 + b"0]},"
    Bounds(MAX_EMBEDDED).feed(b'{"data":[' + one * 2048 + b"0]}")


def test_small_text_is_not_read() -> None:
    """A small text cannot exceed the bounds."""
    assert UNCHECKED_BYTES < MAX_PARTS
    json_bounds.check(b"[" * UNCHECKED_BYTES)
