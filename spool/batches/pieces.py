"""Pieces: lines that are added to an open batch, each piece in one step, until the batch is sealed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from spool.batches.blocks import INDEX, LANES_AT_MOST, Packing
from spool.batches.line import BadLine, Line
from spool.errors import (
    BatchClosed,
    BatchMoved,
    BatchNotFound,
    BatchTooLarge,
    IdempotencyConflict,
    RecordDamaged,
    TooManyModels,
)
from spool.fail_points import reach
from spool.jobs.owner_limits import NO_LIMITS, OwnerLimits
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shards
from spool.jobs.submission import own_limits, raise_refusal
from spool.logs import event

PIECES_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines to add to a batch; the first has the index ``first``, which is the number of the batch's lines before.
    ``key`` and ``digest``: digests of the caller's key (empty: none) and of the body."""

    batch_id: str
    owner: str
    first: int
    lines: Sequence[Line | BadLine]
    key: str = ""
    digest: str = ""
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """A piece of a batch: the index of its first line, and its lines. ``feedable``: for each lane of which the piece's
    first line may become a job now the lane, the line's position, and the number of lines."""

    first: int
    count: int
    replayed: bool = False
    feedable: Sequence[tuple[int, int, int]] = ()


class Pieces:
    """Adds pieces to open batches, and seals these."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def add(self, piece: Piece, *, most: int, max_queued: int, limits: OwnerLimits = NO_LIMITS) -> Added:
        """Add the piece, unless one with its key is there. ``most``: the lines that a batch may have. Raises
        ``BatchMoved`` if the batch has another number of lines than ``piece.first``, ``BatchNotFound``,
        ``BatchClosed``, ``BatchTooLarge``, ``TooManyModels``, ``IdempotencyConflict``, ``RecordDamaged``, and the
        errors of ``JobStore.submit``."""
        shard, parts = self._shards.of_batch(piece.batch_id), len(self._shards)
        args = _arguments(piece, most, -(-max_queued // parts), limits.part(parts))
        reach("batch.adding")
        outcome, _id, *detail = shard.run(script("append_lines"), *args)
        reach("batch.added")
        if outcome not in (b"added", b"replayed"):
            _raise(outcome, piece.batch_id, detail, most)
        first, count, *feedable = detail
        return Added(first, count, outcome == b"replayed", [(lane, at, n) for lane, at, n in (feedable or [()])[0]])

    def seal(self, batch_id: str, owner: str) -> None:
        """Seal the batch: no line is added from now on. Of a sealed one, does nothing. Raises ``BatchNotFound``,
        ``BatchClosed``."""
        answer = self._shards.of_batch(batch_id).run(script("seal_lines"), batch_id, owner)
        if answer == b"missing":
            raise BatchNotFound(batch_id)
        if answer != b"sealed":
            raise BatchClosed(batch_id, "is cancelled, or ended before it was sealed")
        event("batch_sealed", batch=batch_id, owner=owner)


def _raise(outcome: bytes, batch_id: str, detail: list[Any], most: int) -> None:
    match outcome:
        case b"missing":
            raise BatchNotFound(batch_id)
        case b"moved":
            raise BatchMoved(batch_id, detail[0])
        case b"sealed":
            raise BatchClosed(batch_id, "is sealed, so no lines can be added")
        case b"stopped":
            raise BatchClosed(batch_id, "is cancelled, or has ended, so no lines can be added")
        case b"conflict":
            raise IdempotencyConflict(batch_id)
        case b"too_many":
            raise BatchTooLarge(f"a batch may have at most {most} lines")
        case b"many_pieces":
            raise BatchTooLarge(f"lines may be added to a batch {PIECES_AT_MOST} times; add more at a time")
        case b"many_models":
            raise TooManyModels(LANES_AT_MOST)
        case b"damaged":
            raise RecordDamaged(f"batch {batch_id}")
    raise_refusal(outcome, batch_id, detail)


def _arguments(piece: Piece, most: int, max_queued: int, limits: OwnerLimits) -> list[object]:
    packing = _packed(piece.lines)
    blocks = packing.take()
    kinds = [value for (model, at_most), count in packing.kinds.items() for value in (model, at_most, count)]
    lanes: list[list[Any]] = [[model, size, 0] for model, size in packing.sizes.items()]
    for name, block in blocks.items():
        if name != INDEX:
            lane, _, first = name.partition(":")
            lanes[int(lane)][2] += 1
            lanes[int(lane)] += [int(first), block]
    return arguments(
        "append_lines",
        [*kinds, *(value for lane in lanes for value in lane)],
        id=piece.batch_id,
        owner=piece.owner,
        first=piece.first,
        count=packing.total,
        ttl_s=packing.ttl_s,
        piece=piece.key,
        digest=piece.digest,
        most=most,
        max_queued=max_queued,
        credential=piece.credential,
        input_bytes=packing.bytes,
        kind_count=len(kinds) // 3,
        lane_count=len(lanes),
        **own_limits(limits),
    )


def _packed(lines: Iterable[Line | BadLine]) -> Packing:
    # If Redis loses a piece, others may get the numbers of its lines while a worker still runs one of them.
    packing = Packing(secrets.token_hex(4))
    for line in lines:
        packing.add(line)
    packing.finish()
    return packing
