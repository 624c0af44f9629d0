"""The feeder: turns the next lines of batches into jobs, so that a window of each batch and model is in flight.

It runs in every process that keeps a shard, and one of them feeds at a time. The lock only saves work: a line becomes
a job if and only if it is the next of its lane, in the script that writes the job.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence

import orjson

from spool.batches.batch import LINE_TTL_S
from spool.batches.blocks import INDEX, LANES_AT_MOST, block_of, firsts_of
from spool.batches.line import decode_fields, entry_of, is_bad, job_id_of, job_of
from spool.batches.store import block_at
from spool.errors import BatchDamaged, SpoolError, UndecodableRecord
from spool.fail_points import reach
from spool.jobs.owner_list import read
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard
from spool.jobs.store import JobStore
from spool.outage import Outage

_BATCHES_A_PASS = 50
_LINES_A_CALL = 25
"""Redis does nothing else during a job's submit; other calls come between these."""
_ENDED_A_CALL = 50
_HOLD_S = 2.0
_IDLE_S = 1.0
_PAUSE_S = 0.1
_REST = 1.0
"""Pauses are this many times as long as the work before them."""
_BELLS = 20
_DIGITS_AT_MOST = 9
_KNOWN_AT_MOST = 32
_FAILED_AT_ONCE = 3
"""After so many failures a pass ends: Redis does not answer, rather than a batch being damaged."""

log = logging.getLogger("spool.feeder")


class _Lines:
    """The lines of one batch as the feeder reads them: the last block of each lane is kept. ``version``: what the
    record says of the last piece that was added."""

    def __init__(self, shard: Shard, batch_id: str, version: bytes | None) -> None:
        self._shard = shard
        self.version = version
        self._key = shard.key(f"batch:{batch_id}:lines")
        self._firsts: list[list[int]] | None = None
        self._blocks: dict[int, tuple[int, list[bytes]]] = {}

    def after(self, lane: int, position: int, most: int) -> list[bytes]:
        """At most ``most`` lines from ``position`` on, of one block. Raises ``UndecodableRecord``."""
        is_new = self._firsts is None
        try:
            return self._read(lane, position, most)
        except UndecodableRecord:
            if is_new:
                raise
            # Lines may have been added since its index was read.
            self._firsts = None
            return self._read(lane, position, most)

    def _read(self, lane: int, position: int, most: int) -> list[bytes]:
        firsts = self.firsts(lane)
        first = block_of(firsts, position)
        kept, lines = self._blocks.get(lane, (-1, []))
        if kept != first:
            lines = block_at(self._shard, self._key, lane, firsts, position)
            self._blocks[lane] = first, lines
        found = lines[position - first : position - first + most]
        if not found:
            raise BatchDamaged("a block of a batch", None)
        return found

    def firsts(self, lane: int) -> list[int]:
        """The positions at which the lane's blocks begin. Raises ``UndecodableRecord``."""
        if self._firsts is None:
            (index,) = read(self._shard, [("HGET", self._key, INDEX)])
            if index is None:
                raise BatchDamaged("the index of a batch", None)
            self._firsts = firsts_of(index)
        if lane >= len(self._firsts):
            raise BatchDamaged("the index of a batch", self._firsts)
        return self._firsts[lane]


class Feeder:
    """The feeder of one shard. ``ring`` rings the bell once. A feeder that ``keeps`` its turn goes on after a pass;
    others only step in where none does."""

    def __init__(self, shard: Shard, store: JobStore, ring: Callable[[], None], *, keeps: bool = True) -> None:
        self._shard = shard
        self._store = store
        self._ring = ring
        self._keeps = keeps
        self._name = secrets.token_hex(8)
        self._known: dict[str, _Lines] = {}
        self._failed: set[bytes] = set()
        """The batches that failed the last time. They are served last, so that they do not hold up others."""
        self._outage = Outage(log, "feeder", "lines of batches do not become jobs")

    def run(self, wait: Callable[[float], object], stopped: Callable[[], bool]) -> None:
        """Feed until ``stopped``; ``wait`` sleeps. Logs Redis errors and continues."""
        while not stopped():
            pause_s = _IDLE_S
            try:
                pause_s = self.beat(wait)
                self._outage.worked()
            except SpoolError as exc:
                self._outage.failed(exc)
            wait(pause_s)

    def beat(self, wait: Callable[[float], object] = time.sleep) -> float:
        """Do one pass; returns the seconds until the next one is due. Raises ``StoreUnavailable``."""
        hold_ms = round(_HOLD_S * 1000 if self._keeps else _IDLE_S * 900)
        args = arguments(
            "next_lines", feeder_name=self._name, hold_ms=hold_ms, most=_BATCHES_A_PASS, keeps=int(self._keeps)
        )
        reply = self._shard.run(script("next_lines"), *args)
        if reply is None:
            return _IDLE_S
        active, found = reply
        served, failed = 0, list[SpoolError]()
        for batch_id, stop, lanes in sorted(found, key=lambda each: each[0] in self._failed):
            began_at = time.monotonic()
            try:
                served += self._serve(batch_id.decode(), stop.decode(), lanes)
                self._failed.discard(batch_id)
            except SpoolError as exc:
                failed.append(exc)
                self._failed.add(batch_id)
            if len(failed) >= _FAILED_AT_ONCE:
                break
            wait(max(0.001, _REST * (time.monotonic() - began_at)))
        self._failed &= {batch_id for batch_id, *_ in found}
        if failed:
            raise failed[0]
        return 0.0 if served else _PAUSE_S if active and self._keeps else _IDLE_S

    def feed(self, batch_id: str, sizes: Sequence[int], most: int) -> int:
        """Feed the first lines of a new batch, at most ``most`` of each lane; returns how many became jobs."""
        return sum(self._feed(batch_id, lane, 0, min(size, most)) for lane, size in enumerate(sizes))

    def continue_at(self, batch_id: str, places: Sequence[tuple[int, int, int]]) -> int:
        """Feed lines that were added to a batch: of each of these lanes, from a position on, so many. Returns how many
        became jobs."""
        return sum(self._feed(batch_id, lane, position, most) for lane, position, most in places)

    def settle(self, batch_id: str, why: str) -> int:
        """End what is left of a batch that was stopped: its jobs, and its lines that are no jobs. Returns how many
        calls ended some. Raises ``StoreUnavailable``; then a later pass goes on."""
        ended = 0
        while True:
            args = arguments("stop_batch", id=batch_id, owner="", why="", most=_ENDED_A_CALL)
            answer = self._shard.run(script("stop_batch"), *args)
            if not isinstance(answer, int) or answer == 0:
                break
            ended += 1
        self._look(batch_id)
        for lane, (fed, size) in enumerate(self._lanes_of(batch_id)):
            while 0 <= fed < size:
                before = fed
                fed = self._end(batch_id, lane, fed, why)
                if fed == before:
                    break
                ended += 1
        return ended

    def _lanes_of(self, batch_id: str) -> list[tuple[int, int]]:
        """For each lane the number of lines that are dealt with, and of all."""
        key = self._shard.key(f"batch:{batch_id}")
        (raw,) = read(self._shard, [("HGET", key, "lanes")])
        lanes = range(min(_number(raw, LANES_AT_MOST), LANES_AT_MOST))
        names = [name for lane in lanes for name in (f"fed:{lane}", f"size:{lane}")]
        (values,) = read(self._shard, [("HMGET", key, *names)]) if names else ([],)
        numbers = [_number(value) for value in values or ()]
        return [(numbers[2 * lane], numbers[2 * lane + 1]) for lane in range(len(numbers) // 2)]

    def _serve(self, batch_id: str, stop: str, lanes: Sequence[Sequence[int]]) -> int:
        """Do what the batch needs; returns 0 if nothing could be done."""
        if stop:
            return self.settle(batch_id, stop)
        fed = sum(self._feed(batch_id, lane, position, more) for lane, position, more in lanes)
        for _ in range(min(fed, _BELLS)):
            self._ring()
        return fed

    def _lines(self, batch_id: str) -> _Lines:
        return self._known.get(batch_id) or self._known_as(batch_id, None)

    def _known_as(self, batch_id: str, version: bytes | None) -> _Lines:
        """The batch's lines; nothing that was read of another version is kept."""
        known = self._known.get(batch_id)
        if known is None or known.version != version:
            if known is None and len(self._known) >= _KNOWN_AT_MOST:
                self._known.pop(next(iter(self._known)))
            known = self._known[batch_id] = _Lines(self._shard, batch_id, version)
        return known

    def _feed(self, batch_id: str, lane: int, position: int, most: int) -> int:
        """Turn the lines from ``position`` on into jobs; returns how many became jobs."""
        owner, kept = self._look(batch_id)
        fed = 0
        while owner and fed < most:
            try:
                raws = self._lines(batch_id).after(lane, position, min(_LINES_A_CALL, most - fed))
                decoded = [decode_fields(raw) for raw in raws]
                if is_bad(decoded[0]):
                    after = self._end(batch_id, lane, position, "failed")
                    if after <= position:
                        break
                    fed, position = fed + after - position, after
                    continue
                ttl_s = None if kept else LINE_TTL_S
                jobs = [
                    job_of(fields, batch_id, owner, f"{lane}:{position + n}", ttl_s=ttl_s)
                    for n, fields in enumerate(decoded)
                ]
            except UndecodableRecord as exc:
                log.error("batch %s: %s", batch_id, exc.reason)
                after = self._end_damaged(batch_id, lane, position)
                fed += max(1, after - position)
                if after < 0:
                    break
                position = after
                continue
            reach("batch.feeding")
            outcomes = self._store.feed(jobs)
            reach("batch.fed")
            made = next((n for n, outcome in enumerate(outcomes) if outcome not in (b"created", b"again")), len(jobs))
            fed, position = fed + made, position + made
            if made < len(jobs):
                # Another feeder was faster, the batch was stopped, or there is no room: a later pass goes on.
                break
        return fed

    def _look(self, batch_id: str) -> tuple[str, bool]:
        """The batch's owner, and whether its jobs are kept. Forgets lines that may have changed."""
        names = ("owner", "keep_jobs", "piece_at")
        (values,) = read(self._shard, [("HMGET", self._shard.key(f"batch:{batch_id}"), *names)])
        raw, kept, version = values or (None, None, None)
        self._known_as(batch_id, version)
        owner = (raw or b"").decode(errors="replace")
        # A damaged one: its lines wait until the batch expires.
        return owner if owner.isprintable() and " " not in owner else "", kept == b"1"

    def _end(self, batch_id: str, lane: int, position: int, status: str) -> int:
        """End some lines without running them; returns the position after them (-1: the batch has ended)."""
        try:
            fields = [decode_fields(raw) for raw in self._lines(batch_id).after(lane, position, _ENDED_A_CALL)]
        except UndecodableRecord as exc:
            log.error("batch %s: %s", batch_id, exc.reason)
            return self._end_damaged(batch_id, lane, position)
        # A lane has bad lines alone, or none.
        status = "failed" if is_bad(fields[0]) else status
        entries = [entry_of(batch_id, one, status) for one in fields]
        return self._end_lines(batch_id, lane, position, status, entries)

    def _end_lines(self, batch_id: str, lane: int, position: int, status: str, entries: Sequence[bytes]) -> int:
        args = arguments("end_lines", entries, id=batch_id, lane=lane, position=position, status=status)
        after: int = self._shard.run(script("end_lines"), *args)
        return after

    def _end_damaged(self, batch_id: str, lane: int, position: int) -> int:
        """End the lines of a block that cannot be read, up to the next block; returns the position after them."""
        key = self._shard.key(f"batch:{batch_id}")
        (raw,) = read(self._shard, [("HGET", key, f"size:{lane}")])
        end = size = _number(raw)
        try:
            end = next((first for first in self._lines(batch_id).firsts(lane) if first > position), end)
        except UndecodableRecord:
            self._known.pop(batch_id, None)
        problem = {"code": "record_damaged", "message": "the stored line is damaged", "retryable": False}
        while 0 <= position < end:
            lines = range(position, min(position + _ENDED_A_CALL, end))
            entries = [
                {
                    "batch_index": None,
                    "job": job_id_of(batch_id, f"{lane}:{n}"),
                    "status": "failed",
                    "content": "",
                    "error": problem,
                }
                for n in lines
            ]
            tails = [b"," + orjson.dumps(entry)[1:-1] for entry in entries]
            after = self._end_lines(batch_id, lane, position, "failed", tails)
            if after == position:
                return -1
            position = after
        return position if position < size else -1


def _number(raw: bytes | None, otherwise: int = 0) -> int:
    """A stored number; ``otherwise`` for a missing or damaged one."""
    return int(raw) if raw is not None and raw.isdigit() and len(raw) <= _DIGITS_AT_MOST else otherwise
