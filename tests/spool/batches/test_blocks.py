"""Blocks of lines: lanes, positions, and what comes back."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rig.batches import new_line
from spool.batches.blocks import BLOCK_BYTES, BLOCK_LINES, INDEX, Packing, block_of, firsts_of, lines_of
from spool.batches.line import BadLine, Line, decode_fields
from spool.errors import UndecodableRecord


def test_lines_of_each_model_come_back_in_order() -> None:
    """Each lane has the lines of one model in their order, and bad lines have a lane of their own."""
    packing = Packing()
    for n in range(2 * BLOCK_LINES + 3):
        packing.add(Line(n, new_line(n, model="a" if n % 3 else "b")))
    packing.add(BadLine(999, 1000, "invalid_request", "is wrong"))
    packing.finish()
    blocks = packing.take()
    firsts = firsts_of(blocks[INDEX])
    found = [
        [decode_fields(raw)["index"] for first in lane for raw in lines_of(blocks[f"{number}:{first}"])]
        for number, lane in enumerate(firsts)
    ]
    everything = range(2 * BLOCK_LINES + 3)
    assert found == [[n for n in everything if not n % 3], [n for n in everything if n % 3], [999]]
    assert packing.sizes == {"b": len(found[0]), "a": len(found[1]), "": 1}


def test_block_ends_by_size() -> None:
    """A long line ends its block, so that no block is much longer than one line."""
    packing = Packing()
    for n in range(4):
        packing.add(Line(n, new_line(n, input={"messages": [], "params": {"x": "y" * BLOCK_BYTES}})))
    packing.finish()
    assert firsts_of(packing.take()[INDEX]) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(("position", "first"), [(0, 0), (4, 0), (5, 5), (8, 5), (9, 9), (50, 9)])
def test_block_of_a_position(position: int, first: int) -> None:
    """A position leads to the block that begins at or before it."""
    assert block_of([0, 5, 9], position) == first


@pytest.mark.parametrize("block", [b"", b"no zlib", b"x\x9c\x03"], ids=repr)
def test_damaged_block(block: bytes) -> None:
    """A block that cannot be inflated is an error."""
    with pytest.raises(UndecodableRecord):
        lines_of(block)


@pytest.mark.parametrize("index", [b"", b"{}", b"[1]", b"[[]]"], ids=repr)
def test_damaged_index(index: bytes) -> None:
    """An index that is none is an error."""
    with pytest.raises(UndecodableRecord):
        firsts_of(index)


def test_order_by_prompt() -> None:
    """Lines with the same system prompt are neighbours, in their order, however they come."""
    packing, count = Packing(by_prompt=True), 1000
    for index in range(count):
        said = [{"role": "system", "content": f"prompt {index % 7}"}, {"role": "user", "content": str(index)}]
        packing.add(Line(index, new_line(index, input={"messages": said, "params": {}})))
    packing.finish()
    blocks = packing.take()
    (firsts,) = firsts_of(blocks[INDEX])
    indexes = [decode_fields(raw)["index"] for first in firsts for raw in lines_of(blocks[f"0:{first}"])]
    assert sorted(indexes) == list(range(count))
    assert sum(one % 7 != other % 7 for one, other in pairwise(indexes)) < 20
    runs = [[index for index in indexes if index % 7 == prompt] for prompt in range(7)]
    assert runs == [sorted(run) for run in runs]
