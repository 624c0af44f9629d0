"""Blocks: the lines of a batch as compressed bytes. The lines of one model are a lane, and have positions from 0.

A hash has the blocks under ``LANE:FIRST``, the position of their first line, and under ``index`` these positions.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import takewhile
from operator import itemgetter
from typing import Any

import orjson

from spool.batches.line import BadLine, Line, encode
from spool.errors import BatchDamaged
from spool.jobs.owner_limits import output_at_most

BLOCK_BYTES = 64 * 1024
"""A block ends with the line that brings it to this length, before compression."""
BLOCK_LINES = 256
INDEX = "index"
LANES_AT_MOST = 200
_LEVEL = 1
_OF_SYSTEM = ("system", "developer")
_INFLATED_AT_MOST = 256 * 1024 * 1024


_BUCKETS = 32
"""The blocks of a lane that are filled at a time if lines are ordered by prompt."""
_LANES_IN_BUCKETS = 4
"""Further lanes have one block at a time, so that at most 8 MiB wait."""


@dataclass(slots=True)
class _Filling:
    """A block that is being filled: its lines, with the digests of their prompts."""

    lines: list[tuple[bytes, bytes]] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class _Lane:
    """The blocks of a lane that are being filled, the positions at which the others begin, and the number of lines:
    all, and those in the others."""

    filling: dict[int, _Filling] = field(default_factory=dict)
    count: int = 0
    placed: int = 0
    firsts: list[int] = field(default_factory=list)


class Packing:
    """The lines of one batch, while they come. Full blocks are in ``blocks`` until the caller takes them. ``salt``: see
    ``encode``. ``by_prompt``: lines with the same system prompt are neighbours, as far as the blocks that are filled at
    a time allow."""

    def __init__(self, salt: str = "", *, by_prompt: bool = False) -> None:
        self._salt = salt
        self._by_prompt = by_prompt
        self._lanes: dict[str, _Lane] = {}
        self.blocks: dict[str, bytes] = {}
        self.kinds: Counter[tuple[str, int]] = Counter()
        """The number of jobs of each model and maximum size of output."""
        self.total = 0
        self.bytes = 0
        """Bytes of all blocks so far."""
        self.ttl_s = 0
        self.own_ttl_s = 0
        self._shared: set[str] = set()

    def add(self, line: Line | BadLine) -> None:
        """Add a line. Bad lines have a lane of their own."""
        self.total += 1
        if isinstance(line, BadLine):
            self._put("", encode(line, self._salt), b"")
            return
        job = line.job
        self.kinds[job.model, output_at_most(job.input.get("params", {}), job.coalesce)] += 1
        self.ttl_s = max(self.ttl_s, job.ttl_s)
        for block in job.divided.blocks:
            if block.digest not in self._shared:
                self._shared.add(block.digest)
                self.bytes += block.size
        self._put(job.model, encode(line, self._salt), _prompt_of(job.input) if self._by_prompt else b"")

    def _put(self, name: str, raw: bytes, prompt: bytes) -> None:
        lane = self._lanes.setdefault(name, _Lane())
        bucket = int.from_bytes(prompt[:2]) % _BUCKETS if len(self._lanes) <= _LANES_IN_BUCKETS else 0
        filling = lane.filling.setdefault(bucket, _Filling())
        filling.lines.append((prompt, raw))
        filling.size += len(raw) + 1
        lane.count += 1
        if filling.size >= BLOCK_BYTES or len(filling.lines) >= BLOCK_LINES:
            self._close(name, lane, bucket)

    def _close(self, name: str, lane: _Lane, bucket: int) -> None:
        number = list(self._lanes).index(name)
        # A stable sort: lines with the same prompt keep their order.
        lines = [raw for _prompt, raw in sorted(lane.filling.pop(bucket).lines, key=itemgetter(0))]
        # JSON has no line feed.
        block = zlib.compress(b"\n".join(lines), _LEVEL)
        lane.firsts.append(lane.placed)
        lane.placed += len(lines)
        self.blocks[f"{number}:{lane.firsts[-1]}"] = block
        self.bytes += len(block)

    def finish(self) -> None:
        """Close the blocks that are not full, and add the index."""
        for name, lane in self._lanes.items():
            for bucket in list(lane.filling):
                self._close(name, lane, bucket)
        self.blocks[INDEX] = orjson.dumps([lane.firsts for lane in self._lanes.values()])

    def take(self) -> dict[str, bytes]:
        """The blocks since the last call."""
        taken, self.blocks = self.blocks, {}
        return taken

    @property
    def sizes(self) -> Mapping[str, int]:
        """The number of lines of each lane, by its model; '' for bad lines."""
        return {name: lane.count for name, lane in self._lanes.items()}


def _prompt_of(job_input: Mapping[str, Any]) -> bytes:
    """A digest of the system prompt; empty without one."""
    first = list(takewhile(lambda one: one.get("role") in _OF_SYSTEM, job_input.get("messages") or ()))
    return blake2b(orjson.dumps(first), digest_size=8).digest() if first else b""


def block_of(firsts: Sequence[int], position: int) -> int:
    """The position at which the block with this line begins."""
    return firsts[bisect_right(firsts, position) - 1]


def lines_of(block: bytes) -> list[bytes]:
    """The stored lines of a block. Raises ``BatchDamaged``."""
    inflating = zlib.decompressobj()
    try:
        raw = inflating.decompress(block, _INFLATED_AT_MOST)
    except zlib.error as exc:
        raise BatchDamaged("a block of a batch", block[:64]) from exc
    if not inflating.eof:
        raise BatchDamaged("a block of a batch", block[:64])
    return raw.split(b"\n")


def firsts_of(index: bytes) -> list[list[int]]:
    """The positions at which the blocks of each lane begin. Raises ``BatchDamaged``."""
    try:
        found = orjson.loads(index)
    except ValueError as exc:
        raise BatchDamaged("the index of a batch", index[:64]) from exc
    if not isinstance(found, list) or not all(map(_is_lane, found)):
        raise BatchDamaged("the index of a batch", index[:64])
    return found


def _is_lane(firsts: object) -> bool:
    return isinstance(firsts, list) and bool(firsts) and all(type(first) is int for first in firsts)
