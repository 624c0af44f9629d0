"""Reads packed logs (``spool.jobs.packing``) from Redis, a few blocks at a time, and keeps what it read for a moment.

Readers of one log share its blocks, so each block is unpacked about once, however many readers replay the log.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import cast

from spool.jobs.packing import (
    TAIL_BYTES,
    DamagedPack,
    Index,
    Row,
    decode_index,
    index_size,
    text_of_block,
    unpack_block,
)
from spool.keys import log as log_key
from spool.redis.errors import is_wrong_type, translated
from spool.redis.link import RedisLink

_KEPT_S = 5.0
_KEPT_BYTES = 16 * 1024 * 1024
_LOGS_AT_MOST = 1000
"""Each keeps up to ``TAIL_BYTES`` of its value besides its blocks."""
_BLOCK_KEPT_BYTES = 1024 * 1024
"""A larger block is not kept: nearly all of it is one entry."""
_ROW_BYTES = 120
"""Memory of an unpacked entry besides its bytes."""

log = logging.getLogger("spool.packed")


class PackedLog:
    """One packed log: its index, and the last bytes of its value. ``read`` reads other bytes of it, from one position
    to before another."""

    def __init__(self, tail: bytes, read: Callable[[int, int], bytes]) -> None:
        size = index_size(tail)
        if size > len(tail):
            tail = read(-size, 0)
        self.index: Index = decode_index(tail)
        last = self.index.parts[-1]
        self._tail_at = last.start + last.length + size - len(tail)
        self._tail = tail
        self._read = read

    def block(self, number: int) -> bytes:
        """The bytes of a block. Raises ``DamagedPack`` if they are missing: the job was deleted."""
        part = self.index.parts[number]
        if part.start >= self._tail_at:
            block = self._tail[part.start - self._tail_at : part.start - self._tail_at + part.length]
        else:
            block = self._read(part.start, part.start + part.length)
        if len(block) != part.length:
            raise DamagedPack("block is missing")
        return block

    def text(self, first: int, skip: int = 0) -> Iterator[bytes]:
        """The text of the attempt whose first entry is ``first``, from byte ``skip``, block by block."""
        if self.index.text_bytes is None:
            return
        for number, part in enumerate(self.index.parts):
            if skip >= part.text_bytes:
                skip -= part.text_bytes
                continue
            yield text_of_block(self.block(number), first).encode()[skip:]
            skip = 0


class PackedLogs:
    """The packed logs that this process has read in the last seconds, and their unpacked blocks: the last one, and more
    up to ``kept_bytes``."""

    def __init__(
        self,
        link: RedisLink,
        clock: Callable[[], float] = time.monotonic,
        logs_at_most: int = _LOGS_AT_MOST,
        kept_bytes: int = _KEPT_BYTES,
    ) -> None:
        self._link = link
        self._logs_at_most = logs_at_most
        self._kept_bytes = kept_bytes
        self._clock = clock
        self._logs: dict[str, tuple[PackedLog, float]] = {}
        self._blocks: OrderedDict[tuple[str, int], list[Row]] = OrderedDict()
        self._bytes = 0
        self.unpacked = 0
        """The number of blocks unpacked so far."""

    def is_known(self, job_id: str) -> bool:
        """Whether this packed log was read in the last seconds."""
        return job_id in self._logs

    def read(self, job_id: str, after: int, limit: int) -> list[Row] | None:
        """At most ``limit`` entries after ``after``; None if there is no packed log. Raises ``StoreUnavailable``."""
        rows: list[Row] = []
        try:
            packed = self._log(job_id)
            if packed is None:
                return None
            parts = packed.index.parts
            number = bisect_right(parts, after, key=lambda part: part.last)
            while len(rows) < limit and number < len(parts):
                block = self._rows(job_id, packed, number)
                rows += block[bisect_right(block, after, key=_id_of) :] if not rows else block
                number += 1
        except DamagedPack as exc:
            self._give_up(job_id, exc)
        return rows[:limit]

    def before_last(self, job_id: str, count: int) -> int | None:
        """The cursor before the last ``count`` entries, or before the first; None if there is no packed log. Raises
        ``StoreUnavailable``."""
        rows: list[Row] = []
        try:
            packed = self._log(job_id)
            if packed is None:
                return None
            number = len(packed.index.parts)
            while number > 0 and len(rows) <= count:
                number -= 1
                rows = self._rows(job_id, packed, number) + rows
        except DamagedPack as exc:
            self._give_up(job_id, exc)
        if len(rows) > count:
            return rows[-count - 1][0]
        return rows[0][0] - 1 if rows else 0

    def drop_old(self) -> None:
        """Drop the logs that were read too long ago to use. Call it regularly."""
        now = self._clock()
        for job_id in [job_id for job_id, (_packed, read_at) in self._logs.items() if now - read_at > _KEPT_S]:
            self._forget(job_id)

    def _log(self, job_id: str) -> PackedLog | None:
        known = self._logs.get(job_id)
        if known is not None and self._clock() - known[1] <= _KEPT_S:
            return known[0]
        self._forget(job_id)
        packed = open_packed(self._link, job_id)
        if packed is not None:
            self._logs[job_id] = packed, self._clock()
            while len(self._logs) > self._logs_at_most:
                self._forget(next(iter(self._logs)))
        return packed

    def _rows(self, job_id: str, packed: PackedLog, number: int) -> list[Row]:
        key = (job_id, number)
        rows = self._blocks.get(key)
        if rows is None:
            block = packed.block(number)
            # Another reader may have unpacked it meanwhile.
            rows = self._blocks.get(key)
        if rows is None:
            rows = self._unpacked(job_id, block)
            if job_id in self._logs and _memory_of(rows) <= _BLOCK_KEPT_BYTES:
                self._blocks[key] = rows
                self._bytes += _memory_of(rows)
                while self._bytes > self._kept_bytes and len(self._blocks) > 1:
                    self._bytes -= _memory_of(self._blocks.popitem(last=False)[1])
        else:
            self._blocks.move_to_end(key)
        return rows

    def _unpacked(self, job_id: str, block: bytes) -> list[Row]:
        """The entries of a block; none if it is damaged: its readers get a gap, and then the entries after it."""
        self.unpacked += 1
        try:
            return unpack_block(block)
        except DamagedPack as exc:
            log.warning("cannot read a block of the packed log of %s: %s", job_id, exc)
            return []

    def _forget(self, job_id: str) -> None:
        known = self._logs.pop(job_id, None)
        for number in range(len(known[0].index.parts) if known else 0):
            rows = self._blocks.pop((job_id, number), None)
            self._bytes -= _memory_of(rows) if rows else 0

    def _give_up(self, job_id: str, exc: DamagedPack) -> None:
        self._forget(job_id)
        log.warning("cannot read the packed log of %s: %s", job_id, exc)


def open_packed(link: RedisLink, job_id: str, tail: bytes = b"") -> PackedLog | None:
    """The packed log of a job, with ``tail`` if its last bytes are known; None without one. Raises
    ``StoreUnavailable``."""
    key = log_key(job_id)

    def read(start: int, stop: int) -> bytes:
        (reply,) = link.pipeline_each([("GETRANGE", key, start, stop - 1)])
        if is_wrong_type(reply):
            return b""
        if isinstance(reply, Exception):
            raise translated(reply) from reply
        return cast(bytes, reply)

    try:
        tail = tail or read(-TAIL_BYTES, 0)
        return PackedLog(tail, read) if tail else None
    except DamagedPack:
        return None


def _id_of(row: Row) -> int:
    return row[0]


def _memory_of(rows: list[Row]) -> int:
    return sum([len(raw) for _entry_id, raw in rows]) + _ROW_BYTES * len(rows)
