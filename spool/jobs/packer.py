"""The packer: replaces the logs of jobs that have ended by their packed form (``spool.jobs.packing``), and those of
batches (``spool.jobs.batch_packer``).

It runs in every worker, a log at a time, in steps of about a millisecond with pauses between them, so that tokens do
not wait for it and ten thousand ends at once need no more memory than one. A crash at any point leaves the stream; the
job's lease ends, and a worker packs it then. The packed log takes the stream's place in one step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spool.errors import SpoolError
from spool.fail_points import reach
from spool.jobs import input_packing
from spool.jobs.batch_packer import BatchPacker
from spool.jobs.entries import is_terminal, kind_of
from spool.jobs.packed_blocks import CannotPack, blocks_of, reply_to, result_of
from spool.jobs.packing import DamagedPack, Part, Row, encode_index, text_of_block
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard
from spool.keys import job as job_key
from spool.outage import Outage

_JOBS_A_CALL = 8
_LEASE_S = 60.0
_IDLE_S = 1.0
_REST = 4.0
"""Pauses are this many times as long as the work before them, so packing takes at most a fifth of a process."""
_PAUSE_S = 0.001
_PACKED_AT_MOST = 8 * 1024 * 1024
"""A larger log stays a stream: it is held in memory while it is packed, and sent to Redis at once."""

log = logging.getLogger("spool.packer")


@dataclass(frozen=True, slots=True)
class _Ended:
    """A job whose log is to be packed."""

    id: str
    last: int
    attempt_first: int


class Packer:
    """The packer of one shard. It packs logs whose jobs ended ``after_s`` ago. ``clock`` measures its work."""

    def __init__(self, shard: Shard, *, after_s: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._shard = shard
        self._after_ms = round(after_s * 1000)
        self._batches = BatchPacker(shard, after_ms=self._after_ms)
        self._clock = clock
        self._waits_for_older = False
        self._outage = Outage(log, "packer", "logs of ended jobs are not packed")

    def run(self, wait: Callable[[float], object], stopped: Callable[[], bool]) -> None:
        """Pack logs until ``stopped``; ``wait`` sleeps. Logs Redis errors and continues."""
        while not stopped():
            packed = 0
            try:
                packed = self.beat(wait, stopped)
                self._outage.worked()
            except SpoolError as exc:
                self._outage.failed(exc)
            if not packed:
                wait(_IDLE_S)

    def beat(self, wait: Callable[[float], object], stopped: Callable[[], bool] = lambda: False) -> int:
        """Pack the next few logs that are due, of jobs and then of one batch; returns their number. Raises
        ``StoreUnavailable``."""
        jobs = self._take()
        for job in jobs:
            if stopped():
                return len(jobs)
            self._pack(job, wait)
        batch = self._batches.take()
        if batch is not None:
            self._batches.pack(batch, self._rest(wait))
        return len(jobs) + (batch is not None)

    def _take(self) -> list[_Ended]:
        lease_ms = round(_LEASE_S * 1000)
        args = arguments(
            "take_unpacked", index_name="unpacked", after_ms=self._after_ms, lease_ms=lease_ms, most=_JOBS_A_CALL
        )
        reply = self._shard.run(script("take_unpacked"), *args)
        if reply is None and not self._waits_for_older:
            log.info("packer: a worker of an older version runs, which cannot read packed logs; waiting until it ends")
        self._waits_for_older = reply is None
        if reply:
            reach("pack.taken")
        return [_ended(values) for values in reply or ()]

    def _rest(self, wait: Callable[[float], object]) -> Callable[[], None]:
        """Pauses for as long as the work since the last pause asks for."""
        began_at = self._clock()

        def rest() -> None:
            nonlocal began_at
            wait(max(_PAUSE_S, _REST * (self._clock() - began_at)))
            began_at = self._clock()

        return rest

    def _pack(self, job: _Ended, wait: Callable[[float], object]) -> None:
        rest = self._rest(wait)
        packed, stored, count, text_bytes = b"", b"", 0, -1
        try:
            building = _Building(self._shard, job, rest)
            stored = reply_to(self._shard.link, ("GET", f"{job_key(job.id)}:input")) or b""
            packed, count, text_bytes = building.packed()
        except (CannotPack, ValueError) as exc:
            # ValueError: the index has something other than a job's id. The script removes it.
            log.info("the log of job %s stays a stream: %s", job.id, exc)
        packed_input = result_of(input_packing.packing_steps(stored), rest) if packed else None
        args = arguments(
            "pack",
            id=job.id,
            last=job.last,
            count=count,
            text_bytes=text_bytes,
            packed=packed,
            input=packed_input or b"",
        )
        reach("pack.before")
        self._shard.run(script("pack"), *args)
        reach("pack.answered")
        rest()


class _Building:
    """The packed form of one log, block by block. ``rest`` pauses."""

    def __init__(self, shard: Shard, job: _Ended, rest: Callable[[], None]) -> None:
        self._link = shard.link
        self._job = job
        self._rest = rest
        self._blocks: list[bytes] = []
        self._parts: list[Part] = []
        self._size = self._count = self._text_bytes = 0
        self._has_text = True

    def packed(self) -> tuple[bytes, int, int]:
        """The packed log, the number of its entries, and the length of its text (-1: it has not the whole text). Raises
        ``CannotPack`` and ``StoreUnavailable``."""
        last: Row | None = None
        for rows, block in blocks_of(self._link, self._job.id, self._rest):
            self._add(rows, block)
            last = rows[-1]
        if last is None or last[0] != self._job.last or not is_terminal(last[1]):
            raise CannotPack("it has no readable end")
        stored = reply_to(self._link, ("STRLEN", f"{job_key(self._job.id)}:text"))
        text_bytes = self._text_bytes if self._has_text and stored == self._text_bytes else None
        index = encode_index(self._parts, self._count, text_bytes, kind_of(last[1]))
        return b"".join([*self._blocks, index]), self._count, -1 if text_bytes is None else text_bytes

    def _add(self, rows: Sequence[Row], block: bytes) -> None:
        text = self._text_of(block)
        start, before = self._size, len(text)
        self._parts.append(Part(start, len(block), rows[0][0], rows[-1][0], before))
        self._blocks.append(block)
        self._size += len(block)
        self._count += len(rows)
        self._text_bytes += before
        if self._size > _PACKED_AT_MOST:
            raise CannotPack(f"it is larger than {_PACKED_AT_MOST} bytes")

    def _text_of(self, block: bytes) -> bytes:
        """The text that a block adds to the attempt's, if it is the stored text."""
        if not self._has_text:
            return b""
        try:
            text = text_of_block(block, self._job.attempt_first).encode()
        except DamagedPack:
            self._has_text = False
            return b""
        if text:
            start = self._text_bytes
            command = ("GETRANGE", f"{job_key(self._job.id)}:text", start, start + len(text) - 1)
            self._has_text = reply_to(self._link, command) == text
        return text


def _ended(values: Sequence[bytes]) -> _Ended:
    job_id, last, first = values
    numbers = (int(number) if number.isdigit() else 0 for number in (last, first))
    return _Ended(job_id.decode(errors="replace"), *numbers)
