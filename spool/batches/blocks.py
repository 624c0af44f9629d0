"""Blocks: the lines of a batch as compressed bytes. The lines of one model are a lane, and have positions from 0.

A hash has the blocks under ``LANE:FIRST``, the position of their first line, and under ``index`` these positions.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
_INFLATED_AT_MOST = 256 * 1024 * 1024


@dataclass(slots=True)
class _Lane:
    """The block of a lane that is being filled, and the positions at which its blocks begin."""

    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    count: int = 0
    firsts: list[int] = field(default_factory=list)


class Packing:
    """The lines of one batch, while they come. Full blocks are in ``blocks`` until the caller takes them. ``salt``: see
    ``encode``."""

    def __init__(self, salt: str = "") -> None:
        self._salt = salt
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
            self._put("", encode(line, self._salt))
            return
        job = line.job
        self.kinds[job.model, output_at_most(job.input.get("params", {}), job.coalesce)] += 1
        self.ttl_s = max(self.ttl_s, job.ttl_s)
        for block in job.divided.blocks:
            if block.digest not in self._shared:
                self._shared.add(block.digest)
                self.bytes += block.size
        self._put(job.model, encode(line, self._salt))

    def _put(self, name: str, raw: bytes) -> None:
        lane = self._lanes.setdefault(name, _Lane())
        if not lane.lines:
            lane.firsts.append(lane.count)
        lane.lines.append(raw)
        lane.size += len(raw) + 1
        lane.count += 1
        if lane.size >= BLOCK_BYTES or len(lane.lines) >= BLOCK_LINES:
            self._close(name, lane)

    def _close(self, name: str, lane: _Lane) -> None:
        number = list(self._lanes).index(name)
        # JSON has no line feed.
        block = zlib.compress(b"\n".join(lane.lines), _LEVEL)
        self.blocks[f"{number}:{lane.firsts[-1]}"] = block
        self.bytes += len(block)
        lane.lines, lane.size = [], 0

    def finish(self) -> None:
        """Close the blocks that are not full, and add the index."""
        for name, lane in self._lanes.items():
            if lane.lines:
                self._close(name, lane)
        self.blocks[INDEX] = orjson.dumps([lane.firsts for lane in self._lanes.values()])

    def take(self) -> dict[str, bytes]:
        """The blocks since the last call."""
        taken, self.blocks = self.blocks, {}
        return taken

    @property
    def sizes(self) -> Mapping[str, int]:
        """The number of lines of each lane, by its model; '' for bad lines."""
        return {name: lane.count for name, lane in self._lanes.items()}


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
