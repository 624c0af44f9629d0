"""Blocks of a stream of bytes."""

from __future__ import annotations

from spool.files.contents import in_blocks
from spool.files.file import BLOCK_BYTES


def test_pieces_become_blocks_of_one_size() -> None:
    """However the pieces are cut, each block but the last has the full size, and the bytes are the same."""
    pieces = [b"a" * 100_000, b"b" * (2 * BLOCK_BYTES), b"", b"c"]
    sizes: list[int] = []
    blocks = list(in_blocks(pieces, sizes.append))
    assert sizes == [len(block) for block in blocks] == [BLOCK_BYTES, BLOCK_BYTES, 100_001]
    assert b"".join(blocks) == b"".join(pieces)


def test_nothing_has_no_block() -> None:
    """An empty file has no block."""
    assert list(in_blocks([], list[int]().append)) == []
