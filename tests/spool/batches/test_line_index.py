"""The stored lines of a batch, found by their indexes."""

from __future__ import annotations

import pytest

from rig.batches import create, lines_of, new_line
from spool.batches.line import BadLine, Line
from spool.batches.store import Batches
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import shards_of

pytestmark = pytest.mark.one_shard
COUNT = 600


def test_line_is_found(link: RedisLink) -> None:
    """Each line is found by its index, in any lane and block; one that does not exist is not."""
    lines = [*lines_of(COUNT), Line(COUNT, new_line(COUNT, model="other")), BadLine(COUNT + 1, 9, "wrong", "is wrong")]
    batch = create(link, lines)
    found = Batches(shards_of(link)).line_index(batch)
    for index in (COUNT, 0, 300, COUNT - 1, COUNT + 1, 1):
        line = found.line(index)
        assert line is not None
        assert (line["index"], "bad" in line) == (index, index == COUNT + 1)
    assert (found.line(COUNT + 2), found.line(-1)) == (None, None)


def test_damaged_block_hides_no_other(link: RedisLink) -> None:
    """Lines of a damaged block are missing, others are found; without its index a batch has none."""
    batch = create(link, COUNT)
    key = f"{prefix(0)}batch:{batch}:lines"
    link.call("HSET", key, "0:0", "no zlib")
    found = Batches(shards_of(link)).line_index(batch)
    assert found.line(0) is None
    assert found.line(COUNT - 1) is not None
    link.call("HDEL", key, "index")
    assert Batches(shards_of(link)).line_index(batch).line(COUNT - 1) is None
