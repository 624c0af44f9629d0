"""A feed: one log that has readers in this process. A short tail of what came last, encoded once per format."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from spool.following.encoder import Encoder
from spool.jobs.entries import is_terminal

_KEEP = 32
_TRIM_AT = 128
_MOST = 1024
TAIL_BYTES = 1024 * 1024
"""Of entries in one tail; one that is larger goes to its readers from the stream alone."""
TAILS_BYTES = 64 * 1024 * 1024
"""Of entries in the tails of all feeds of a process."""


class FeedReader(Protocol):
    """What a feed knows of one of its readers."""

    cursor: int
    feed: Feed

    def wake(self) -> None:
        """Look: something changed."""
        ...


class Feed:
    """The end of a log as this process has seen it: entries ``base + 1`` to ``last`` are in ``tail``."""

    __slots__ = (
        "_frames",
        "base",
        "ended",
        "gone",
        "heard_at",
        "is_heard",
        "job_id",
        "left_at",
        "readers",
        "ready",
        "size",
        "tail",
        "watched",
    )

    def __init__(self, job_id: str, last: int, *, ended: bool = False) -> None:
        self.job_id = job_id
        self.base = last
        self.tail: list[bytes] = []
        self.size = 0
        """Bytes in ``tail``."""
        self.ended = ended
        self.gone = False
        """The job itself is no longer there: expired, deleted, or Redis lost it."""
        self.ready = ended
        """The subscription is confirmed and the stream was read after it: the seam is closed."""
        self.watched = False
        """The job is to be cancelled when nobody reads it."""
        self.heard_at = float("-inf")
        self.is_heard = False
        """Something came since ``heard_at``."""
        self.left_at = float("-inf")
        self.readers: set[FeedReader] = set()
        self._frames: dict[Encoder, list[bytes]] = {}

    @property
    def last(self) -> int:
        """The id of the newest entry seen."""
        return self.base + len(self.tail)

    def add(self, first: int, entries: Sequence[bytes]) -> bool:
        """Take entries with ids from ``first``; those seen before are dropped. False, and nothing taken, if some
        before ``first`` are missing: then the stream has to be read."""
        skip = self.last + 1 - first
        if skip < 0:
            return False
        new = entries[skip:] if skip else entries
        if new:
            self.tail.extend(new)
            self.size += sum(map(len, new))
            self.ended = self.ended or is_terminal(new[-1])
            if len(self.tail) > _TRIM_AT or self.size > TAIL_BYTES:
                self._trim()
        return True

    def jump(self, before: int) -> None:
        """The log goes on behind a hole: the next entry has the id ``before + 1``. Readers that are behind read
        the stream, and find the hole themselves."""
        self.base, self.tail, self.size = before, [], 0
        self._frames.clear()

    def forget_tail(self) -> None:
        """Keep nothing of what was seen: readers that are behind read the stream."""
        self.jump(self.last)

    def encoded(self, encoder: Encoder, after: int) -> bytes:
        """Everything after ``after`` (within the tail) in the encoder's format, each entry encoded once."""
        frames, tail = self._frames.get(encoder), self.tail
        if frames is None:
            frames = self._frames[encoder] = []
        if len(frames) < len(tail):
            for at in range(len(frames), len(tail)):
                frames.append(encoder.entry(self.base + at + 1, tail[at]))
        start = after - self.base
        return frames[-1] if start == len(frames) - 1 else b"".join(frames[start:])

    def wake(self) -> None:
        """Something changed: every reader looks. One that looks may leave at once."""
        for reader in tuple(self.readers):
            reader.wake()

    def _trim(self) -> None:
        # What every reader has goes; one that is far behind reads the stream instead of holding the tail.
        slowest = min((reader.cursor for reader in self.readers), default=self.last)
        drop = max(min(slowest - self.base, len(self.tail) - _KEEP), len(self.tail) - _MOST, 0)
        self.size -= sum(map(len, self.tail[:drop]))
        if self.size > TAIL_BYTES:
            # Down to half, so that not each entry costs a trim.
            while self.size > TAIL_BYTES // 2:
                self.size -= len(self.tail[drop])
                drop += 1
        del self.tail[:drop]
        for frames in self._frames.values():
            del frames[:drop]
        self.base += drop


def bound_tails(feeds: Collection[Feed], limit: int = TAILS_BYTES) -> None:
    """Empty the largest tails until all together have at most ``limit`` bytes. To be called now and then."""
    total = sum([feed.size for feed in feeds])
    if total <= limit:
        return
    for feed in sorted(feeds, key=lambda feed: feed.size, reverse=True):
        total -= feed.size
        feed.forget_tail()
        if total <= limit:
            return
