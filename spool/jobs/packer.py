"""The packer: replaces the logs of jobs that have ended by their packed form (``spool.jobs.packing``).

It runs in every worker, a job at a time, in steps of about a millisecond with pauses between them, so that tokens do
not wait for it and ten thousand ends at once need no more memory than one. A crash at any point leaves the stream; the
job's lease ends, and a worker packs it then. The packed log takes the stream's place in one step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from spool.errors import SpoolError
from spool.fail_points import reach
from spool.jobs import input_packing
from spool.jobs.entries import is_terminal, kind_of
from spool.jobs.log import PAGE, range_command, rows_of
from spool.jobs.packing import (
    BLOCK_BYTES,
    BLOCK_ENTRIES,
    DamagedPack,
    Part,
    Row,
    encode_index,
    packing_steps,
    text_of_block,
)
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard
from spool.keys import job as job_key
from spool.outage import Outage
from spool.redis.errors import is_wrong_type, translated
from spool.redis.link import RedisLink
from spool.redis.pool import Command

_JOBS_A_CALL = 8
_LEASE_S = 60.0
_IDLE_S = 1.0
_REST = 4.0
"""Pauses are this many times as long as the work before them, so packing takes at most a fifth of a process."""
_PAUSE_S = 0.001
_PACKED_AT_MOST = 8 * 1024 * 1024
"""A larger log stays a stream: it is held in memory while it is packed, and sent to Redis at once."""

log = logging.getLogger("spool.packer")

_Result = TypeVar("_Result")


class _CannotPack(Exception):
    """This log stays a stream: it is damaged, or too large."""


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
        """Pack the next few logs that are due; returns their number. Raises ``StoreUnavailable``."""
        jobs = self._take()
        for job in jobs:
            if stopped():
                break
            self._pack(job, wait)
        return len(jobs)

    def _take(self) -> list[_Ended]:
        args = arguments("take_unpacked", after_ms=self._after_ms, lease_ms=round(_LEASE_S * 1000), most=_JOBS_A_CALL)
        reply = self._shard.run(script("take_unpacked"), *args)
        if reply is None and not self._waits_for_older:
            log.info("packer: a worker of an older version runs, which cannot read packed logs; waiting until it ends")
        self._waits_for_older = reply is None
        if reply:
            reach("pack.taken")
        return [_ended(values) for values in reply or ()]

    def _pack(self, job: _Ended, wait: Callable[[float], object]) -> None:
        began_at = self._clock()

        def rest() -> None:
            nonlocal began_at
            wait(max(_PAUSE_S, _REST * (self._clock() - began_at)))
            began_at = self._clock()

        packed, stored, count, text_bytes = b"", b"", 0, -1
        try:
            building = _Building(self._shard, job, rest)
            stored = _reply_to(self._shard.link, ("GET", f"{job_key(job.id)}:input")) or b""
            packed, count, text_bytes = building.packed()
        except (_CannotPack, ValueError) as exc:
            # ValueError: the index has something other than a job's id. The script removes it.
            log.info("the log of job %s stays a stream: %s", job.id, exc)
        packed_input = _all_of(input_packing.packing_steps(stored), rest) if packed else None
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
        ``_CannotPack`` and ``StoreUnavailable``."""
        last: Row | None = None
        for rows in self._blocks_of_rows():
            self._add(rows)
            last = rows[-1]
        if last is None or last[0] != self._job.last or not is_terminal(last[1]):
            raise _CannotPack("it has no readable end")
        stored = _reply_to(self._link, ("STRLEN", f"{job_key(self._job.id)}:text"))
        text_bytes = self._text_bytes if self._has_text and stored == self._text_bytes else None
        index = encode_index(self._parts, self._count, text_bytes, kind_of(last[1]))
        return b"".join([*self._blocks, index]), self._count, -1 if text_bytes is None else text_bytes

    def _blocks_of_rows(self) -> Iterator[list[Row]]:
        rows: list[Row] = []
        size = 0
        for row in self._rows():
            rows.append(row)
            size += len(row[1])
            if len(rows) >= BLOCK_ENTRIES or size >= BLOCK_BYTES:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    def _rows(self) -> Iterator[Row]:
        after = 0
        while True:
            reply = _reply_to(self._link, range_command(self._job.id, after, PAGE))
            rows = rows_of(reply)
            if len(rows) != len(reply):
                raise _CannotPack("it has something other than entries")
            yield from rows
            if len(reply) < PAGE:
                return
            after = rows[-1][0]
            self._rest()

    def _add(self, rows: list[Row]) -> None:
        block = _all_of(packing_steps(rows), self._rest)
        text = self._text_of(block)
        start, before = self._size, len(text)
        self._parts.append(Part(start, len(block), rows[0][0], rows[-1][0], before))
        self._blocks.append(block)
        self._size += len(block)
        self._count += len(rows)
        self._text_bytes += before
        if self._size > _PACKED_AT_MOST:
            raise _CannotPack(f"it is larger than {_PACKED_AT_MOST} bytes")

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
            self._has_text = _reply_to(self._link, command) == text
        return text


def _all_of(steps: Generator[None, None, _Result], rest: Callable[[], None]) -> _Result:
    """The result of the steps, with a pause after each."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(_Result, done.value)
        rest()


def _reply_to(link: RedisLink, command: Command) -> Any:
    """The reply. Raises ``_CannotPack`` if the key has another type, and ``StoreUnavailable``."""
    (reply,) = link.pipeline_each([command])
    if is_wrong_type(reply):
        raise _CannotPack("a key of it has another type")
    if isinstance(reply, Exception):
        raise translated(reply) from reply
    return reply


def _ended(values: Sequence[bytes]) -> _Ended:
    job_id, last, first = values
    numbers = (int(number) if number.isdigit() else 0 for number in (last, first))
    return _Ended(job_id.decode(errors="replace"), *numbers)
