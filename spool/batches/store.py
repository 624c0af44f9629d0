"""Batches in Redis: create, look, list, cancel, pause, delete, and the results.

Calls check the owner: another owner's batch counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from spool.batches.batch import DEFAULT_WINDOW_S, Batch, BatchOptions, Order, decode
from spool.batches.blocks import INDEX, LANES_AT_MOST, Packing, block_of, firsts_of, lines_of
from spool.batches.line import BadLine, Line, decode_fields
from spool.batches.line_index import LineIndex
from spool.batches.listing import ALL, WantedBatches, newest
from spool.errors import (
    BatchDamaged,
    BatchNotEnded,
    BatchNotFound,
    BatchStopped,
    RecordDamaged,
    StoreUnavailable,
    TooManyModels,
    UndecodableRecord,
)
from spool.fail_points import reach
from spool.jobs.batch_list import cursor_before
from spool.jobs.log import BATCH_PAGE, Logs, Row
from spool.jobs.owner_limits import NO_LIMITS, OwnerLimits
from spool.jobs.owner_list import read
from spool.jobs.repeats import Joins, Repeat
from spool.jobs.scripts import arguments, script
from spool.jobs.seen_batches import SeenBatches
from spool.jobs.shards import Shard, Shards
from spool.jobs.submission import own_limits, raise_refusal
from spool.logs import event

_PAGE_BYTES = 128 * 1024
_STAGED_BYTES = 256 * 1024
"""Bytes of blocks that are held here before they are staged: most batches need a single call."""
_STAGED_MS = 600_000
"""How long staged blocks live without another one: those of a web that died expire then."""
_CANCELLED_AT_ONCE = 50
ERRORS_AT_MOST = 100


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to create."""

    id: str
    owner: str
    options: BatchOptions
    idempotency_key: str = ""
    """A digest of the caller's key; empty: none."""
    repeat: Repeat | None = None
    """What tells that the request repeats another one, without a key."""
    credential: str = ""
    """The id of the key that submits it; empty: none."""


class Staging:
    """The lines of a batch before it exists. Use it as a context: what is staged is dropped unless it may exist."""

    def __init__(self, shards: Shards, new: NewBatch) -> None:
        self._shard = shards.of_batch(new.id)
        self._parts = len(shards)
        self._new = new
        self._packing = Packing(by_prompt=new.options.order is Order.PROMPT)
        self._held = 0
        self._is_staged = self._may_exist = False
        self.errors: list[BadLine] = []
        """The first bad lines."""
        self.bad = 0

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_staged and not self._may_exist:
            # Else they expire.
            with suppress(StoreUnavailable):
                self._shard.link.call("DEL", self._key)

    @property
    def _key(self) -> str:
        return self._shard.key(f"batch:{self._new.id}:lines")

    @property
    def total(self) -> int:
        """The number of lines so far."""
        return self._packing.total

    @property
    def sizes(self) -> Sequence[int]:
        """The number of lines of each lane."""
        return list(self._packing.sizes.values())

    def add(self, line: Line | BadLine) -> None:
        """Add a line. Raises ``StoreUnavailable``, ``TooManyModels``."""
        if isinstance(line, BadLine):
            self.bad += 1
            if len(self.errors) < ERRORS_AT_MOST:
                self.errors.append(line)
        before = self._packing.bytes
        self._packing.add(line)
        self._held += self._packing.bytes - before
        if len(self._packing.sizes) > LANES_AT_MOST:
            raise TooManyModels(LANES_AT_MOST)
        if self._held >= _STAGED_BYTES:
            self._stage()

    def _stage(self) -> None:
        blocks = self._packing.take()
        self._held = 0
        if blocks:
            flat = [value for pair in blocks.items() for value in pair]
            self._shard.link.pipeline([("HSET", self._key, *flat), ("PEXPIRE", self._key, _STAGED_MS)])
            self._is_staged = True
            reach("batch.staged")

    def create(self, body_digest: str, *, max_queued: int, limits: OwnerLimits = NO_LIMITS) -> str:
        """Create the batch in one step; returns its id, or that of an earlier batch with this Idempotency-Key. Raises
        the errors of ``JobStore.submit``; after ``OutcomeUnknown`` it may exist."""
        packing = self._packing
        packing.finish()
        args = self._arguments(packing, body_digest, -(-max_queued // self._parts), limits.part(self._parts))
        reach("batch.before")
        # Without an answer the batch may exist, and has the lines that were staged.
        self._may_exist = True
        outcome, raw_id, *detail = self._shard.run(script("create_batch"), *args)
        reach("batch.created")
        batch_id = str(raw_id.decode())
        self._may_exist = outcome in (b"created", b"opened") and batch_id == self._new.id
        if outcome == b"gone":
            raise StoreUnavailable("the lines of this batch came too slowly, and were dropped")
        raise_refusal(outcome, batch_id, detail)
        return batch_id

    def _arguments(self, packing: Packing, digest: str, max_queued: int, limits: OwnerLimits) -> list[Any]:
        new, options, failure = self._new, self._new.options, ""
        kinds = [value for (model, at_most), count in packing.kinds.items() for value in (model, at_most, count)]
        fields = {**options.encode(), "errors": orjson.dumps([error.public() for error in self.errors])}
        sizes, blocks = packing.sizes, packing.take()
        has_failed = self.bad > 0 and options.on_bad_line.value == "fail"
        if has_failed:
            error = {"code": "bad_lines", "message": f"{self.bad} lines of the batch are not valid", "retryable": False}
            failure, kinds, sizes, blocks = orjson.dumps(error).decode(), [], {}, {}
        for lane, (model, size) in enumerate(sizes.items()):
            fields |= {f"size:{lane}": size, f"model:{lane}": model}
        flat = [value for pairs in (fields, blocks) for pair in pairs.items() for value in pair]
        return arguments(
            "create_batch",
            [*kinds, *flat],
            id=new.id,
            owner=new.owner,
            total=0 if has_failed else packing.total,
            ttl_s=options.keep_s or packing.ttl_s or options.ttl_s,
            window_ms=(options.completion_window_s or DEFAULT_WINDOW_S) * 1000,
            is_staged=int(self._is_staged and not has_failed),
            lanes=len(sizes),
            idempotency=f"{new.owner}:{new.idempotency_key}" if new.idempotency_key else "",
            digest=digest,
            max_queued=max_queued,
            credential=new.credential,
            input_bytes=packing.bytes,
            failure=failure,
            repeat_key=f"{new.owner}:{new.repeat.key}" if new.repeat else "",
            joins=(new.repeat.joins if new.repeat else Joins.NONE).value,
            is_open=int(options.is_open),
            kind_count=len(kinds) // 3,
            field_count=len(fields),
            **own_limits(limits),
        )


class Batches:
    """Batches as their owners see them. ``seen`` notes what is read of their logs."""

    def __init__(self, shards: Shards, seen: SeenBatches | None = None) -> None:
        self._shards = shards
        self._seen = seen or SeenBatches()

    def staging(self, new: NewBatch) -> Staging:
        """The lines of a new batch, before it exists."""
        return Staging(self._shards, new)

    def look(self, batch_id: str, owner: str) -> Batch:
        """The batch as it is now. Raises ``BatchNotFound``, ``RecordDamaged``."""
        shard = self._shards.of_batch(batch_id)
        (raw,) = read(shard, [("HGETALL", shard.key(f"batch:{batch_id}"))])
        if raw is None:
            raise RecordDamaged(f"batch {batch_id}")
        record = {raw[i].decode(errors="replace"): raw[i + 1].decode(errors="replace") for i in range(0, len(raw), 2)}
        if record.get("owner") != owner or record.get("staging"):
            raise BatchNotFound(batch_id)
        try:
            found = decode(batch_id, record)
        except UndecodableRecord as exc:
            raise RecordDamaged(f"batch {batch_id}") from exc
        self._note(found)
        return found

    def newest(
        self, owner: str, *, limit: int, cursor: str | None = None, wanted: WantedBatches = ALL
    ) -> tuple[list[Batch], str | None]:
        """At most ``limit`` of the owner's batches, newest first, and the cursor of the next page (None at the end);
        see ``spool.batches.listing``."""
        return newest(self._shards, owner, wanted, limit=limit, cursor=cursor, note=self._note)

    def _note(self, batch: Batch) -> None:
        self._seen.note(batch.id, batch.last_entry)

    def cursor_before(self, created_ms: int) -> str:
        """The cursor of ``newest`` for the batches created before this time."""
        return cursor_before(created_ms, len(self._shards))

    def cursor_of(self, batch_id: str, owner: str) -> str:
        """The cursor of ``newest`` behind this batch. Raises ``BatchNotFound``."""
        shard = self._shards.of_batch(batch_id)
        (score,) = read(shard, [("ZSCORE", shard.key(f"batches:{owner}"), batch_id)])
        if score is None:
            raise BatchNotFound(batch_id)
        return str(int(float(score)) * len(self._shards) + shard.number)

    def results(self, batch_id: str, after: int, limit: int) -> list[Row]:
        """At most ``limit`` entries of the batch's log after ``after``, and at most a page. Does not check the owner:
        call ``look`` first. Raises ``StoreUnavailable``."""
        return self._logs_of(batch_id).read(batch_id, after, min(limit, BATCH_PAGE))

    def _logs_of(self, batch_id: str) -> Logs:
        return Logs(self._shards.of_batch(batch_id).link, self._seen, is_alone=True)

    def each_result(self, batch_id: str, after: int = 0) -> Iterator[Row]:
        """All entries of the batch's log after ``after``, one after the other. Holds few at a time and none that it has
        given, but for a block of a packed log: the reader may be slow, and an entry as large as an answer. Raises like
        ``results``."""
        logs, count = self._logs_of(batch_id), 1
        while rows := logs.read(batch_id, after, count):
            after = rows[-1][0]
            size = sum(len(raw) for _id, raw in rows) // len(rows)
            count = max(1, min(2 * count, BATCH_PAGE, _PAGE_BYTES // (size + 1)))
            rows.reverse()
            while rows:
                yield rows.pop()

    def stop(self, batch_id: str, owner: str) -> bool:
        """Cancel the batch: nothing of it begins from now on, and its jobs are cancelled. The feeder ends its lines
        that are no jobs. Returns False for a batch of an older version, of which nothing was done. Raises
        ``BatchNotFound``."""
        shard, why = self._shards.of_batch(batch_id), "cancelled"
        while True:
            args = arguments("stop_batch", id=batch_id, owner=owner, why=why, most=_CANCELLED_AT_ONCE)
            answer = shard.run(script("stop_batch"), *args)
            if answer == b"missing":
                raise BatchNotFound(batch_id)
            if answer == b"old":
                return False
            if why and answer != b"ended":
                event("batch_cancel_requested", batch=batch_id, owner=owner)
            if answer == b"ended" or answer == 0:
                return True
            why = ""

    def pause(self, batch_id: str, owner: str, *, is_paused: bool) -> None:
        """Pause or resume the batch. Raises ``BatchNotFound``, ``BatchStopped``."""
        args = arguments("pause_batch", id=batch_id, owner=owner, is_paused=int(is_paused))
        answer = self._shards.of_batch(batch_id).run(script("pause_batch"), *args)
        if answer == b"missing":
            raise BatchNotFound(batch_id)
        if answer != b"done":
            raise BatchStopped(batch_id)

    def note_size(self, batch_id: str, name: str, size: int) -> None:
        """Keep the size of one of the files of a batch that has ended (``FILES``). Raises ``StoreUnavailable``."""
        self._shards.of_batch(batch_id).run(script("note_size"), batch_id, f"{name}_bytes", size)

    def delete(self, batch_id: str, owner: str) -> None:
        """Delete a batch that has ended. Raises ``BatchNotFound``, ``BatchNotEnded``."""
        answer = self._shards.of_batch(batch_id).run(script("delete_batch"), batch_id, owner)
        if answer == b"missing":
            raise BatchNotFound(batch_id)
        if answer == b"running":
            raise BatchNotEnded(batch_id)
        event("batch_deleted", batch=batch_id, owner=owner)

    def line_index(self, batch_id: str) -> LineIndex:
        """The stored lines, found by their indexes."""
        return LineIndex(self._shards.of_batch(batch_id), batch_id)

    def lines(self, batch_id: str, is_wanted: Callable[[int], bool] = lambda _index: True) -> Iterator[dict[str, Any]]:
        """The stored lines (``spool.batches.line``) with a wanted index, block by block. Raises ``UndecodableRecord``,
        ``BatchNotFound``, ``StoreUnavailable``."""
        shard = self._shards.of_batch(batch_id)
        key = shard.key(f"batch:{batch_id}:lines")
        (index,) = read(shard, [("HGET", key, INDEX)])
        if index is None:
            raise BatchNotFound(batch_id)
        for lane, firsts in enumerate(firsts_of(index)):
            for first in firsts:
                yield from (
                    fields
                    for fields in map(decode_fields, block_at(shard, key, lane, firsts, first))
                    if is_wanted(fields["index"])
                )


def block_at(shard: Shard, key: str, lane: int, firsts: Sequence[int], position: int) -> list[bytes]:
    """The lines of the block with this position of a lane. Raises ``UndecodableRecord``, ``StoreUnavailable``."""
    (block,) = read(shard, [("HGET", key, f"{lane}:{block_of(firsts, position)}")])
    if block is None:
        raise BatchDamaged("a block of a batch", None)
    return lines_of(block)
