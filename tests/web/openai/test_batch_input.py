"""The lines of an input file, however its blocks are cut."""

from __future__ import annotations

import pytest

from web.openai.batch_input import numbered_lines

TEXT = b"first\n\nthird is long\r\n{}\nlast"


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_lines_have_their_numbers(size: int) -> None:
    """Blank lines count; a line that is too large has no text, and the next one does."""
    blocks = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    expected = [(1, b"first"), (2, b""), (3, None), (4, b"{}"), (5, b"last")]
    assert list(numbered_lines(blocks, 6)) == expected


def test_line_end_at_the_end_is_no_line() -> None:
    """A file with a line end has as many lines as one without."""
    assert list(numbered_lines([b"a\n", b"b\n"], 9)) == [(1, b"a"), (2, b"b")]
    assert list(numbered_lines([], 9)) == []
