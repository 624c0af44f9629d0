"""A feed: one log with readers in this process. It keeps a short tail of the last entries, encoded once per format."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from spool.following.encoder import Encoder
from spool.jobs.entries import is_terminal, kind_of
from spool.jobs.log import Row
from spool.jobs.waits import Wait
from spool.keys import EVENTS

_KEEP = 32
_TRIM_AT = 128
_MOST = 1024
TAIL_BYTES = 1024 * 1024
"""Limit for the entries of one tail; readers get a larger entry only from the stream."""
TAILS_BYTES = 64 * 1024 * 1024
"""Limit for the entries in the tails of all feeds of a process."""


class FeedReader(Protocol):
    """A reader, as its feed uses it."""

    cursor: int
    feed: Feed

    def wake(self) -> None:
        """Notify the reader of a change."""
        ...


class Feed:
    """The end of a log as this process has seen it: entries ``base + 1`` to ``last`` are in ``tail``."""

    __slots__ = (
        "_frames",
        "_pieces",
        "base",
        "ended",
        "gone",
        "heard_at",
        "is_heard",
        "is_packed",
        "job_id",
        "left_at",
        "model",
        "queued_at",
        "readers",
        "ready",
        "size",
        "tail",
        "wait",
        "watched",
    )

    def __init__(
        self, job_id: str, last: int, *, ended: bool = False, model: str = "", is_packed: bool = False
    ) -> None:
        self.job_id = job_id
        self.model = model
        self.base = last
        self.tail: list[bytes] = []
        self.size = 0
        """Bytes in ``tail``."""
        self.ended = ended
        self.is_packed = is_packed
        """The log was packed when the feed was made."""
        self.gone = False
        """The job no longer exists: expired, deleted, or lost by Redis."""
        self.ready = ended
        """The subscription is confirmed and the stream was read after it: no entry can be missed."""
        self.watched = False
        """The job is cancelled when it has no reader."""
        self.queued_at = -1
        """The last entry when the job was found queued. A later entry means that it has begun."""
        self.wait: Wait | None = None
        """The wait of the queued job, as its readers are told it."""
        self.heard_at = float("-inf")
        self.is_heard = False
        """A message arrived since ``heard_at``."""
        self.left_at = float("-inf")
        self.readers: set[FeedReader] = set()
        self._frames: dict[Encoder, list[bytes]] = {}
        self._pieces: dict[Encoder, tuple[int, int, bytes]] = {}
        """The last piece in each format, after its cursor and its last id: live readers all request the same one."""

    @property
    def last(self) -> int:
        """The id of the newest entry seen."""
        return self.base + len(self.tail)

    @property
    def is_queued(self) -> bool:
        """Whether the job was queued when it was last looked at, and has not begun since."""
        return self.queued_at == self.last

    def add(self, first: int, entries: Sequence[bytes]) -> bool:
        """Add entries with ids from ``first``; known ones are dropped. Returns False and adds nothing if entries before
        ``first`` are missing: then the stream must be read."""
        skip = self.last + 1 - first
        if skip < 0:
            return False
        new = entries[skip:] if skip else entries
        if new:
            self.tail.extend(new)
            self.size += sum(map(len, new))
            self.ended = self.ended or is_terminal(new[-1])
            if self.job_id.startswith(EVENTS) and any(kind_of(raw).endswith(b".deleted") for raw in new):
                # The records of what was deleted are gone: readers that are behind must not get them from here.
                self.forget_tail()
            elif len(self.tail) > _TRIM_AT or self.size > TAIL_BYTES:
                self._trim()
        return True

    def jump(self, before: int) -> None:
        """Continue after a gap: the next entry has the id ``before + 1``. Readers that are behind read the stream and
        detect the gap themselves."""
        self.base, self.tail, self.size = before, [], 0
        self._frames.clear()
        self._pieces.clear()

    def forget_tail(self) -> None:
        """Drop the tail; readers that are behind read the stream."""
        self.jump(self.last)

    def encoded(self, encoder: Encoder, after: int) -> bytes:
        """All entries after ``after`` (within the tail) in the encoder's format, as one piece. Each entry is encoded
        once, and a short piece framed once."""
        last = self.last
        known = self._pieces.get(encoder)
        if known is not None and known[0] == after and known[1] == last:
            return known[2]
        frames, tail = self._frames.get(encoder), self.tail
        if frames is None:
            frames = self._frames[encoder] = []
        for at in range(len(frames), len(tail)):
            frames.append(encoder.entry(self.base + at + 1, tail[at]))
        data = encoder.piece(b"".join(frames[after - self.base :]))
        if last - after <= _KEEP:
            self._pieces[encoder] = after, last, data
        return data

    def rows(self, after: int) -> list[Row]:
        """All entries after ``after`` (within the tail)."""
        return list(enumerate(self.tail[after - self.base :], after + 1))

    def wake(self) -> None:
        """Notify every reader of a change. A notified reader may leave during the loop."""
        for reader in tuple(self.readers):
            reader.wake()

    def _trim(self) -> None:
        # Drop the entries that every reader has. A reader far behind reads the stream, so it does not keep the tail.
        slowest = min((reader.cursor for reader in self.readers), default=self.last)
        drop = max(min(slowest - self.base, len(self.tail) - _KEEP), len(self.tail) - _MOST, 0)
        self.size -= sum(map(len, self.tail[:drop]))
        if self.size > TAIL_BYTES:
            # Trim to half the limit, so that not every entry costs a trim.
            while self.size > TAIL_BYTES // 2:
                self.size -= len(self.tail[drop])
                drop += 1
        del self.tail[:drop]
        for frames in self._frames.values():
            del frames[:drop]
        self.base += drop


def bound_tails(feeds: Collection[Feed], limit: int = TAILS_BYTES) -> None:
    """Drop the largest tails until the total is at most ``limit`` bytes. Call it regularly."""
    total = sum([feed.size for feed in feeds])
    if total <= limit:
        return
    for feed in sorted(feeds, key=lambda feed: feed.size, reverse=True):
        total -= feed.size
        feed.forget_tail()
        if total <= limit:
            return
