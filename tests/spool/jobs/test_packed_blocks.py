"""Blocks of a log: made of the whole stream, in steps, or refused."""

from __future__ import annotations

import pytest

from spool.jobs.packed_blocks import CannotPack, blocks_of
from spool.jobs.packing import BLOCK_BYTES, unpack_block
from spool.keys import log as log_key
from spool.redis.link import RedisLink

JOB = "j0-00000000000000000000000000"


def entry(entry_id: int, text: str = "x") -> bytes:
    """An encoded token."""
    return b'{"id":%d,"kind":"token","at":"2026-11-30T09:30:00.123Z","text":"%b"}' % (entry_id, text.encode())


def write(link: RedisLink, entries: list[bytes]) -> None:
    """Write the entries as the job's log, with ids from 1."""
    link.pipeline([("XADD", log_key(JOB), f"{n}-0", "entry", raw) for n, raw in enumerate(entries, 1)])


def test_blocks_have_every_entry(link: RedisLink) -> None:
    """The blocks give back the stream, in order, and none is much longer than it may be."""
    entries = [entry(n, "word " * (n % 300)) for n in range(1, 1400)]
    write(link, entries)
    blocks = list(blocks_of(link, JOB, lambda: None))
    assert [raw for rows, _block in blocks for _id, raw in rows] == entries
    assert all(unpack_block(block) == list(rows) for rows, block in blocks)
    assert all(sum(len(raw) for _id, raw in rows[:-1]) < BLOCK_BYTES for rows, _block in blocks)
    assert len(blocks) > 2


def test_large_entry_is_packed_in_steps(link: RedisLink) -> None:
    """An entry of two megabytes is compressed a piece at a time."""
    write(link, [entry(1, "many words " * 200_000)])
    rests: list[int] = []
    ((rows, block),) = blocks_of(link, JOB, lambda: rests.append(1))
    assert unpack_block(block) == list(rows)
    assert len(rests) > 60


def test_other_values_are_refused(link: RedisLink) -> None:
    """A stream with something other than entries, or a key of another type, cannot be packed."""
    write(link, [entry(1)])
    link.call("XADD", log_key(JOB), "2-0", "other", "field")
    with pytest.raises(CannotPack):
        list(blocks_of(link, JOB, lambda: None))
    link.pipeline([("DEL", log_key(JOB)), ("LPUSH", log_key(JOB), "no log")])
    with pytest.raises(CannotPack):
        list(blocks_of(link, JOB, lambda: None))
