"""The packer of batches: replaces the logs of batches that have ended by their packed form (``spool.jobs.packing``).

A batch's log may be much larger than a job's, so its blocks are staged in Redis while they are made, under a key that
only this attempt has, and that expires. Each piece renews the lease. The last step puts the staged log in the stream's
place.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from spool.fail_points import reach
from spool.jobs.entries import is_terminal, kind_of
from spool.jobs.packed_blocks import CannotPack, blocks_of
from spool.jobs.packing import Part, Row, encode_index
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard

LEASE_MS = 60_000
_PIECE_BYTES = 512 * 1024
"""Bytes of blocks that are held here before they are staged."""
_PACKED_AT_MOST = 256 * 1024 * 1024
"""A larger log stays a stream: a string of Redis has at most 512 MiB."""

log = logging.getLogger("spool.packer")


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """A batch whose log is to be packed."""

    id: str
    last: int


class BatchPacker:
    """The packer of one shard's batches. ``at_most``: the length of the longest packed log, in bytes."""

    def __init__(self, shard: Shard, *, after_ms: int, at_most: int = _PACKED_AT_MOST) -> None:
        self._shard = shard
        self._after_ms = after_ms
        self._at_most = at_most

    def take(self) -> EndedBatch | None:
        """Lease the next batch that is due. Raises ``StoreUnavailable``."""
        args = arguments(
            "take_unpacked", index_name="unpacked-batches", after_ms=self._after_ms, lease_ms=LEASE_MS, most=1
        )
        for batch_id, last, _first in self._shard.run(script("take_unpacked"), *args) or ():
            return EndedBatch(batch_id.decode(errors="replace"), int(last) if last.isdigit() else 0)
        return None

    def pack(self, batch: EndedBatch, rest: Callable[[], None]) -> None:
        """Pack the log of a batch, with pauses (``rest``). Raises ``StoreUnavailable``."""
        staging = _Staging(self._shard, batch.id, self._after_ms, self._at_most)
        try:
            count = staging.write(batch.last, rest)
        except (CannotPack, ValueError) as exc:
            # ValueError: the index has something other than a batch's id. The script removes it.
            log.info("the log of batch %s stays a stream: %s", batch.id, exc)
            count = 0
        args = arguments(
            "pack_batch", id=batch.id, attempt=staging.attempt, last=batch.last, count=count, size=staging.size
        )
        reach("pack_batch.before")
        self._shard.run(script("pack_batch"), *args)
        reach("pack_batch.answered")
        rest()


class _Staging:
    """The packed log of one attempt, as far as it is in Redis. ``size``: its length so far."""

    def __init__(self, shard: Shard, batch_id: str, after_ms: int, at_most: int) -> None:
        self.attempt = secrets.token_hex(8)
        self.size = 0
        self._shard = shard
        self._batch_id = batch_id
        self._after_ms = after_ms
        self._at_most = at_most
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, last_id: int, rest: Callable[[], None]) -> int:
        """Stage the whole log; returns the number of its entries. ``last_id``: the id of its terminal entry. Raises
        ``CannotPack`` and ``StoreUnavailable``."""
        parts: list[Part] = []
        count, last, at = 0, None, 0
        for rows, block in blocks_of(self._shard.link, self._batch_id, rest):
            parts.append(Part(at, len(block), rows[0][0], rows[-1][0], 0))
            at, count, last = at + len(block), count + len(rows), rows[-1]
            self._add(block)
        self._add(encode_index(parts, count, None, _kind_of_end(last, last_id)))
        self._flush()
        return count

    def _add(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self.size + self._held_bytes > self._at_most:
            raise CannotPack(f"it is larger than {self._at_most} bytes")
        if self._held_bytes >= _PIECE_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._held)
        args = arguments(
            "stage_packed",
            id=self._batch_id,
            attempt=self.attempt,
            at=self.size,
            after_ms=self._after_ms,
            lease_ms=LEASE_MS,
            data=data,
        )
        self._shard.run(script("stage_packed"), *args)
        reach("pack_batch.staged")
        self.size += len(data)
        self._held, self._held_bytes = [], 0


def _kind_of_end(last: Row | None, last_id: int) -> bytes:
    if last is None or last[0] != last_id or not is_terminal(last[1]):
        raise CannotPack("it has no readable end")
    return kind_of(last[1])
