"""The callers' side of jobs in Redis: submit, look, cancel, delete, list. Web uses this half of the contract.

Calls check the owner: another owner's job counts as missing.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from spool.errors import (
    BatchNotFound,
    JobGone,
    JobNotEnded,
    JobNotFound,
    RecordDamaged,
    RecordNewer,
    UndecodableRecord,
)
from spool.jobs.batch_list import BatchPage, newest_batches
from spool.jobs.conversation import read_input
from spool.jobs.input_packing import HEAD_BYTES, packed_size
from spool.jobs.job import Job, NewJob, Status, StoredInput
from spool.jobs.log import Logs
from spool.jobs.owner_limits import NO_LIMITS, OwnerLimits
from spool.jobs.owner_list import JobPage, Wanted, newest, read
from spool.jobs.packed_text import rest_of_packed_text, with_packed_text
from spool.jobs.packing import END_BYTES, sizes_of
from spool.jobs.queue_facts import QueueFacts, read_facts
from spool.jobs.scripts import script
from spool.jobs.shards import Shards
from spool.jobs.submission import (
    NewBatch,
    Submitted,
    batch_args,
    read_staged,
    read_submitted,
    submit_args,
    unstaged_batch_args,
)
from spool.jobs.waits import Place, read_places
from spool.keys import job as job_key
from spool.logs import event
from spool.owners.limits import NO_OWNERS, Owners, digest_of
from spool.redis.errors import translated
from spool.redis.pool import Command

ALL_TEXT = -1
TEXT_PIECE_BYTES = 64 * 1024
"""Bytes of a long text that are read at a time."""
_PAGE = 100
_PACKED = b"packed"
_COUNT = re.compile(r"-?[0-9]{1,15}")
_DIGITS = re.compile(rb"[0-9]{1,15}")
_EAGER_BLOCK_BYTES = 65_536
"""A last block of at most this size is sent with the first submit, because Redis usually lacks it."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of one job: bytes of its input with all earlier turns, bytes of its text, and entries of its log."""

    input: int
    text: int
    entries: int


class JobStore:
    """Jobs as their owners see them."""

    def __init__(self, shards: Shards) -> None:
        # Read at start, so that the first request does not wait for it.
        self._submit_script = script("submit")
        self._shards = shards

    def submit(self, new: NewJob, *, max_queued: int, limits: OwnerLimits = NO_LIMITS) -> Submitted:
        """Write the job. Raises ``IdempotencyConflict``, ``QueueFull``, ``OwnerQueueFull``, ``OwnerBytesFull``,
        ``ConversationBusy``, ``ConversationFull``, ``StoreUnavailable``. After ``OutcomeUnknown`` the same ``new`` may
        be submitted again."""
        reply = self._submit(new, new.stored(), self._shards.part(max_queued), limits.part(len(self._shards)))
        try:
            return read_submitted(reply, new)
        except UndecodableRecord as exc:
            job_id = reply[1].decode()
            return Submitted(self._look_damaged(job_id, new.owner, exc), replayed=job_id != new.id)

    def submit_many(
        self, new: Sequence[NewJob], *, max_queued: int, limits: OwnerLimits = NO_LIMITS
    ) -> list[Submitted]:
        """Submit several jobs to one shard in one round trip, plus up to two for each conversation that they continue.
        Each is accepted or refused on its own."""
        if not new:
            return []
        replies = self._submit_each(new, self._shards.part(max_queued), limits.part(len(self._shards)))
        return [read_submitted(reply, job) for reply, job in zip(replies, new, strict=True)]

    def feed(self, lines: Sequence[NewJob]) -> list[bytes]:
        """Submit lines of a batch, whose room is reserved, to its shard. Returns the outcome of each as ``submit.lua``
        has it; a line is ``created`` if and only if it is the next one of its lane."""
        return [reply[0] for reply in self._submit_each(lines, 0, NO_LIMITS)]

    def _submit_each(self, new: Sequence[NewJob], max_queued: int, limits: OwnerLimits) -> list[Any]:
        """The final reply of ``submit.lua`` for each job, in order."""
        shard = self._shards.of_job(new[0].id)
        replies: list[Any] = []
        calls: list[Command] = []
        known: set[str] = set()

        def flush() -> None:
            if calls:
                replies.extend(shard.run_many(self._submit_script, calls))
                calls.clear()

        for job in new:
            stored = job.stored()
            before = stored.blocks[-1].digest if stored.blocks else ""
            if before and before not in known:
                flush()
                replies.append(self._submit(job, stored, max_queued, limits))
                known.add(before)
            else:
                calls.append(submit_args(job, stored, max_queued, limits, texts_from=len(stored.blocks)))
        flush()
        for at, job in enumerate(new):
            if replies[at][0] == b"blocks":
                replies[at] = self._submit(job, job.stored(), max_queued, limits)
        return replies

    def _submit(self, new: NewJob, stored: StoredInput, max_queued: int, limits: OwnerLimits) -> Any:
        """Run ``submit.lua`` until it has the messages of all blocks that Redis lacks; returns its final reply. For a
        continued conversation Redis usually lacks only the last block."""
        shard, texts_from = self._shards.of_job(new.id), len(stored.blocks)
        if stored.blocks and len(stored.blocks[-1].messages) <= _EAGER_BLOCK_BYTES:
            texts_from -= 1
        while True:
            args = submit_args(new, stored, max_queued, limits, texts_from=texts_from)
            reply = shard.run(self._submit_script, *args)
            if reply[0] != b"blocks":
                return reply
            texts_from = reply[2] - 1

    def publish_limits(self, limits: OwnerLimits) -> None:
        """Publish the owner limits and the watermark for claims and the keeper. The last web to publish wins."""
        limits = limits.part(len(self._shards))
        fields = ("owner_running", limits.running, "owner_share", limits.share, "watermark", limits.watermark)
        for shard in self._shards:
            shard.run(script("publish_limits"), *fields)

    def publish_owners(self, owners: Owners) -> None:
        """Publish the limits of the owners file for claims, unless Redis has them. The last web to publish wins."""
        published = owners.published(len(self._shards)) if owners != NO_OWNERS else {}
        digest = digest_of(published) if published else ""
        for shard in self._shards:
            if shard.run(script("publish_owners"), digest) == 0:
                flat = [value for pair in published.items() for value in pair]
                shard.run(script("publish_owners"), digest, *flat)

    def check_writable(self) -> None:
        """Raise ``StoreUnavailable`` if jobs cannot be written now: Redis is unreachable, or is a replica."""
        for shard in self._shards:
            shard.run(script("watch"), 0)

    def look(self, job_id: str, owner: str, *, with_text: bool = False, text_bytes: int = ALL_TEXT) -> Job:
        """The job as it is now; ``with_text``, with at most ``text_bytes`` bytes of its text.

        Raises ``JobNotFound``, ``JobGone`` (while its tombstone is kept), ``RecordDamaged`` and ``RecordNewer``. A job
        with a damaged record ends as ``failed`` if possible.
        """
        reply = self._shards.of_job(job_id).run(script("look"), job_id, text_bytes if with_text else 0)
        try:
            return self._looked(reply, job_id, owner, text_bytes)
        except UndecodableRecord as exc:
            return self._look_damaged(job_id, owner, exc, with_text=with_text)

    def _looked(self, reply: Any, job_id: str, owner: str, text_bytes: int = ALL_TEXT) -> Job:
        """``read_look``, with the text of a packed log."""
        job = read_look(reply, job_id, owner)
        if reply[2] == _PACKED:
            return with_packed_text(self._shards.of_job(job_id).link, job, reply[1], text_bytes)
        return job

    def look_queue(
        self, model: str, job_ids: Sequence[str], *, facts: QueueFacts | None = None
    ) -> tuple[QueueFacts, dict[str, Place]]:
        """The facts of a model's queue, unless they are known, and the places of the queued ones of these jobs, which
        are on one shard. Does not check the owner: call ``look`` first. Raises ``StoreUnavailable``."""
        shard = self._shards.of_job(job_ids[0])
        reply = shard.run(script("look_queue"), model, int(facts is None), *job_ids)
        return facts or read_facts(reply[0]), read_places(reply, job_ids)

    def _look_damaged(self, job_id: str, owner: str, exc: UndecodableRecord, *, with_text: bool = False) -> Job:
        shard = self._shards.of_job(job_id)
        outcome = shard.run(script("end_damaged"), job_id, owner, exc.reason)
        if outcome == b"missing":
            raise JobNotFound(job_id)
        if outcome == b"newer":
            raise RecordNewer(job_id)
        if outcome != b"set_aside":
            try:
                return self._looked(shard.run(script("look"), job_id, -int(with_text)), job_id, owner)
            except UndecodableRecord:
                pass
        raise RecordDamaged(f"job {job_id}") from exc

    def set_aside(self) -> int:
        """The number of jobs that are set aside because their records are damaged."""
        return sum(read(shard, [("HLEN", shard.key("set-aside"))])[0] or 0 for shard in self._shards)

    def rest_of_text(self, job: Job) -> Iterator[str]:
        """The text of a job after ``job.text``, up to the length at the time of the look. Pieces are read lazily.
        Raises ``JobGone`` if that text no longer exists, and ``StoreUnavailable``."""
        link, key = self._shards.of_job(job.id).link, job_key(job.id)
        decoder = getincrementaldecoder("utf-8")("replace")
        at = len((job.text or "").encode())
        while at < job.text_bytes:
            end = min(at + TEXT_PIECE_BYTES, job.text_bytes)
            # In this order, to notice an attempt that began in between.
            commands = [("GETRANGE", f"{key}:text", at, end - 1), ("HMGET", key, "attempt_first", "packed")]
            piece, (first, packed) = link.pipeline(commands)
            if (first or b"1") != b"%d" % job.attempt_first:
                raise JobGone(job.id)
            if not piece and packed == b"1":
                for piece in rest_of_packed_text(link, job, at):
                    yield decoder.decode(piece)
                return
            if len(piece) < end - at:
                raise JobGone(job.id)
            yield decoder.decode(piece, final=end == job.text_bytes)
            at = end

    def before_last(self, job_id: str, count: int) -> int:
        """The cursor before the last ``count`` entries of a job's log. Raises ``StoreUnavailable``."""
        return Logs(self._shards.of_job(job_id).link).before_last(job_id, count)

    def look_many(
        self, job_ids: Sequence[str], owner: str, *, with_text: bool = False, text_bytes: int = ALL_TEXT
    ) -> list[Job]:
        """The jobs that still exist, in the given order, with one round trip for each shard."""
        replies: dict[str, Any] = {}
        for shard, its_ids in self._shards.by_shard(job_ids).items():
            calls = [(job_id, text_bytes if with_text else 0) for job_id in its_ids]
            replies |= zip(its_ids, shard.run_each(script("look"), calls), strict=True)
        found = []
        for job_id in filter(replies.__contains__, job_ids):
            try:
                found.append(self._looked(replies[job_id], job_id, owner, text_bytes))
            except JobNotFound:
                continue
            except UndecodableRecord as exc:
                # One damaged record must not hide all others.
                with suppress(JobNotFound, RecordDamaged, RecordNewer):
                    found.append(self._look_damaged(job_id, owner, exc, with_text=with_text))
        return found

    def cancel(self, job_id: str, owner: str, *, text_bytes: int = ALL_TEXT) -> Job:
        """Request the job's cancellation; returns the job afterwards, with at most ``text_bytes`` bytes of its text.
        Idempotent. Raises as ``look`` does."""
        answer = self._shards.of_job(job_id).run(script("cancel"), job_id, owner)
        if answer == b"newer":
            raise RecordNewer(job_id)
        job = self.look(job_id, owner, with_text=text_bytes != 0, text_bytes=text_bytes)
        event(
            "job_cancel_requested", job=job_id, request_id=job.origin.request_id or None, owner=owner, status=job.status
        )
        return job

    def delete(self, job_id: str, owner: str) -> None:
        """Delete a job that has ended. Raises ``JobNotEnded``, ``JobNotFound``, ``JobGone``, ``RecordDamaged``,
        ``RecordNewer``."""
        shard = self._shards.of_job(job_id)
        answer = shard.run(script("delete"), job_id, owner)
        if answer == b"damaged":
            # The look ends it now, if it belongs to this owner.
            self.look(job_id, owner)
            answer = shard.run(script("delete"), job_id, owner)
        if answer == b"newer":
            raise RecordNewer(job_id)
        if answer == b"running":
            raise JobNotEnded(job_id)
        if answer == b"gone":
            raise JobGone(job_id)
        if answer is None:
            raise JobNotFound(job_id)
        event("job_deleted", job=job_id, owner=owner)

    def newest(
        self,
        owner: str,
        *,
        status: Status | None = None,
        limit: int,
        cursor: str | None,
        batch: str | None = None,
        model: str | None = None,
        metadata: tuple[str] | tuple[str, str] | None = None,
    ) -> JobPage:
        """The owner's jobs, newest first; only those of ``Wanted``. A page examines a bounded number of jobs: a
        filtered one may contain fewer than ``limit`` and still have a ``cursor``."""
        wanted = Wanted(status, batch, model, metadata)
        return newest(self._shards, self.look_many, owner, wanted, limit=limit, cursor=cursor)

    def input_of(self, job_id: str) -> dict[str, Any]:
        """The stored prompt, ``{messages, params, …}`` (``NewJob``). Does not check the owner: call ``look`` first.
        Raises ``JobNotFound`` and ``UndecodableRecord``."""
        shard = self._shards.of_job(job_id)
        (raw,) = read(shard, [("GET", f"{job_key(job_id)}:input")])
        if raw is None:
            raise JobNotFound(job_id)
        try:
            return read_input(raw, lambda: shard.run(script("conversation"), job_id))
        except (ValueError, TypeError) as exc:
            raise UndecodableRecord(f"input of {job_id}", raw) from exc

    def sizes(self, job_id: str) -> Sizes:
        """The sizes of a job's stored parts, without reading them. A missing part has size 0."""
        shard, key = self._shards.of_job(job_id), job_key(job_id)
        commands = [("STRLEN", f"{key}:input"), ("STRLEN", f"{key}:text"), ("XLEN", f"{key}:log")]
        heads = [("GETRANGE", f"{key}:input", 0, HEAD_BYTES - 1), ("GETRANGE", f"{key}:log", -END_BYTES, -1)]
        *sizes, head, end, earlier = read(shard, [*commands, *heads, ("HGET", key, "earlier_bytes")])
        own, text, entries = (size or 0 for size in sizes)
        own = packed_size(head or b"") or own
        entries, packed_text = sizes_of(end or b"") or (entries, None)
        own += int(earlier) if earlier and _DIGITS.fullmatch(earlier) else 0
        return Sizes(own, text if packed_text is None else packed_text, entries)

    def newest_of_chat(self, chat: str, owner: str) -> Job | None:
        """The newest job of the owner's chat (a digest), None if it no longer exists. All shards are asked, because a
        job of a chat may lie on the shard of its Idempotency-Key."""
        found = []
        for shard in self._shards:
            (raw,) = read(shard, [("GET", shard.key(f"chat:{owner}:{chat}"))])
            if raw is not None:
                with suppress(JobNotFound):
                    found.append(self.look(raw.decode(errors="replace"), owner))
        return max(found, key=lambda job: job.created_at, default=None)

    def open_batch(self, batch_id: str, owner: str, total: int, *, ttl_s: int, timeout_s: float) -> None:
        """Open a batch of ``total`` jobs. They end within ``timeout_s`` and are kept for ``ttl_s`` after that. Each of
        its jobs is submitted, and accepted or refused, on its own."""
        args = unstaged_batch_args(batch_id, owner, total, ttl_s, timeout_s)
        self._shards.of_batch(batch_id).run(script("open_batch"), *args)

    def stage_batch(self, batch: NewBatch, *, max_queued: int, limits: OwnerLimits = NO_LIMITS) -> str:
        """Reserve room for all jobs of the batch. ``submit_many`` then writes them; no worker claims one before
        ``seal_batch``.

        Returns the batch's id. It is an earlier batch's id if an earlier call with this Idempotency-Key made a complete
        batch. Raises ``BatchStaging`` if that batch is incomplete, and the errors of ``submit``.
        """
        args = batch_args(batch, self._shards.part(max_queued), limits.part(len(self._shards)))
        reply = self._shards.of_batch(batch.id).run(script("open_batch"), *args)
        return read_staged(reply)

    def seal_batch(self, batch: NewBatch) -> None:
        """Release the batch to workers, once all its jobs are written. Raises ``BatchNotFound`` if the batch was
        abandoned in the meantime."""
        if self._shards.of_batch(batch.id).run(script("seal_batch"), batch.id) != b"sealed":
            raise BatchNotFound(batch.id)

    def drop_batch(self, batch_id: str) -> bool:
        """Delete a staged batch and its jobs. Returns False, and keeps the batch, if it is complete."""
        shard, left = self._shards.of_batch(batch_id), 1
        while left > 0:
            left = shard.run(script("drop_batch"), batch_id, _PAGE)
        return bool(left == 0)

    def batch(self, batch_id: str, owner: str) -> dict[str, str]:
        """The batch's record. Raises ``BatchNotFound`` and ``RecordDamaged``."""
        shard = self._shards.of_batch(batch_id)
        (raw,) = read(shard, [("HGETALL", shard.key(f"batch:{batch_id}"))])
        if raw is None:
            raise RecordDamaged(f"batch {batch_id}")
        record = {raw[i].decode(errors="replace"): raw[i + 1].decode(errors="replace") for i in range(0, len(raw), 2)}
        if record.get("owner") != owner:
            raise BatchNotFound(batch_id)
        if not _is_batch(record):
            raise RecordDamaged(f"batch {batch_id}")
        return record

    def newest_batches(self, owner: str, *, limit: int, cursor: str | None) -> BatchPage:
        """The owner's complete batches, newest first. Damaged ones are left out. Raises ``StoreUnavailable``."""
        page = newest_batches(self._shards, owner, limit=limit, cursor=cursor)
        return BatchPage({name: record for name, record in page.batches.items() if _is_batch(record)}, page.cursor)

    def batch_jobs(self, batch_id: str, *, ended: bool, start: int, count: int) -> list[str]:
        """At most ``count`` ids of the batch's jobs from ``start``, in the order of submit or (``ended``) of ending."""
        shard = self._shards.of_batch(batch_id)
        key = shard.key(f"batch:{batch_id}:{'ended' if ended else 'jobs'}")
        (found,) = read(shard, [("LRANGE", key, start, start + count - 1)])
        if found is None:
            raise RecordDamaged(f"batch {batch_id}")
        return [raw.decode(errors="replace") for raw in found]

    def cancel_many(self, job_ids: Sequence[str], owner: str) -> None:
        """Request the cancellation of several jobs, with one round trip for each shard."""
        for shard, its_ids in self._shards.by_shard(job_ids).items():
            shard.run_many(script("cancel"), [(job_id, owner) for job_id in its_ids])


def _is_batch(record: Mapping[str, str]) -> bool:
    """Whether a batch's record has all its numbers."""
    return all(_COUNT.fullmatch(record.get(name, "")) for name in ("total", "created_ms", "ttl_s")) and all(
        _COUNT.fullmatch(record.get(status, "0")) for status in Status
    )


def read_look(reply: Any, job_id: str, owner: str) -> Job:
    """Decode a reply of ``look.lua``. Raises as ``JobStore.look`` does, and ``UndecodableRecord``."""
    if reply is None:
        raise JobNotFound(job_id)
    if isinstance(reply, Exception):
        raise translated(reply) from reply
    if isinstance(reply, int):
        raise UndecodableRecord(f"job {job_id}", reply)
    if isinstance(reply, bytes):
        raise JobGone(job_id) if reply.decode() == owner else JobNotFound(job_id)
    position, text, text_bytes, values = reply
    if text_bytes == _PACKED:
        text = text_bytes = None
    # A beginning may end within a character; that character is then part of the rest.
    beginning = getincrementaldecoder("utf-8")("replace").decode(text or b"", final=text_bytes is None)
    job = Job.decode(values, queue_position=position, text=beginning, text_bytes=text_bytes or 0)
    if job.owner != owner:
        raise JobNotFound(job_id)
    if job.id != job_id:
        raise UndecodableRecord(f"job {job_id}", values)
    return job
