"""Checkpoints of logs in other protocols' events: the state of a translation after a page, and the page's bytes.

A stream in another protocol's events is a fold over its log: it needs the entries before its place. The streams of a
process share what one of them has read: the others begin at the furthest checkpoint, and send pages as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol, Self

from spool.jobs.log import Row
from spool.jobs.waits import Wait

KEPT_BYTES = 32 * 1024 * 1024
"""Bytes of all checkpoints and translated pages of a process, with the text that checkpoints share."""
PIECE_BYTES = 64 * 1024
"""Smaller pages are sent together up to this size."""
_CHECKPOINT_BYTES = 1024
_PART_BYTES = 512


Frame = Callable[[bytes], bytes]


class Translation(Protocol):
    """The state of one stream of another protocol. It gets all entries of its log from the first, so that every
    instance makes the same stream of the same log."""

    name: str
    """The stream's label in metrics."""
    after: int
    """Events up to this number are left out; -1 leaves out none."""

    @property
    def format(self) -> Hashable:
        """Translations of a job with the same format differ only in ``opening`` and ``after``."""
        ...

    @property
    def number(self) -> int:
        """The number of the next event; 0 in a protocol without numbers."""
        ...

    @property
    def size(self) -> int:
        """Its approximate size in bytes, with its text."""
        ...

    @property
    def parts(self) -> int:
        """The parts that ``fork`` copies. What is complete is shared and does not count."""
        ...

    def fork(self) -> Self:
        """A copy that changes by itself. Text is shared, so it costs little."""
        ...

    def rest(self, data: bytes) -> bytes:
        """``data``, of a translation that left out nothing, without the events up to ``after``."""
        ...

    def page(self, rows: list[Row]) -> bytes:
        """``entries`` for many entries from the log. May join their texts if events have no numbers."""
        ...

    def opening(self) -> bytes: ...
    def entries(self, rows: list[Row]) -> bytes: ...
    @property
    def over(self) -> bool: ...
    def heartbeat(self) -> bytes: ...
    def queued(self, wait: Wait) -> bytes: ...
    def broken_off(self, code: str, message: str) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after the entry ``cursor``. ``translation`` is shared: fork it before adding entries."""

    cursor: int
    translation: Translation


class Page:
    """The complete bytes of some entries, and the state after them."""

    __slots__ = ("_framed", "data", "end")

    def __init__(self, data: bytes, end: Checkpoint) -> None:
        self.data = data
        self.end = end
        self._framed: dict[Frame, bytes] = {}

    @property
    def size(self) -> int:
        """Its bytes in memory, in one frame as well if it is large."""
        return len(self.data) * (2 if self.is_large else 1)

    @property
    def is_large(self) -> bool:
        """Whether it is worth a frame of its own."""
        return len(self.data) > PIECE_BYTES

    def framed(self, frame: Frame) -> bytes:
        """The bytes in that frame, as one object for all readers: the end of an answer repeats it whole."""
        data = self._framed.get(frame)
        if data is None:
            data = self._framed[frame] = frame(self.data)
        return data


@dataclass(slots=True)
class _Log:
    """A log in one format: its checkpoints in order, and its pages by the entry before each."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    pages: OrderedDict[int, Page] = field(default_factory=OrderedDict)
    state_bytes: int = 0
    text_bytes: int = 0
    page_bytes: int = 0

    @property
    def size(self) -> int:
        return self.state_bytes + self.text_bytes + self.page_bytes

    def add(self, cursor: int, end: Checkpoint, data: bytes | None) -> None:
        """Add what is not there yet. ``data`` are the bytes of the entries between ``cursor`` and the checkpoint."""
        translation = end.translation
        at = bisect_right(self.checkpoints, end.cursor, key=_cursor)
        if not translation.over and (not at or self.checkpoints[at - 1].cursor < end.cursor):
            self.checkpoints.insert(at, end)
            self.state_bytes += _CHECKPOINT_BYTES + _PART_BYTES * translation.parts
        if data is not None and cursor not in self.pages:
            self.pages[cursor] = Page(data, end)
            self.page_bytes += self.pages[cursor].size
        self.text_bytes = max(self.text_bytes, translation.size)

    def drop_page(self) -> None:
        """Drop the least recently used page."""
        _cursor, page = self.pages.popitem(last=False)
        self.page_bytes -= page.size


def _cursor(checkpoint: Checkpoint) -> int:
    return checkpoint.cursor


def _number(checkpoint: Checkpoint) -> int:
    return checkpoint.translation.number


class Checkpoints:
    """The checkpoints and translated pages of one process. Logs that were not used for the longest are dropped first,
    then pages of the log in use; a log with more text than fits has no checkpoints."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._logs: OrderedDict[Hashable, _Log] = OrderedDict()
        self.size = 0
        """Approximate bytes of all."""

    def furthest(self, key: Hashable, number: int) -> Checkpoint | None:
        """The last checkpoint from which the event ``number`` is still to come."""
        kept = self._logs.get(key)
        if kept is None:
            return None
        self._logs.move_to_end(key)
        at = bisect_right(kept.checkpoints, number, key=_number)
        return kept.checkpoints[at - 1] if at else None

    def page(self, key: Hashable, cursor: int) -> Page | None:
        """The page after the entry ``cursor``."""
        kept = self._logs.get(key)
        page = kept.pages.get(cursor) if kept is not None else None
        if kept is not None and page is not None:
            self._logs.move_to_end(key)
            kept.pages.move_to_end(cursor)
        return page

    def keep(self, key: Hashable, cursor: int, end: Checkpoint, data: bytes | None) -> None:
        """Keep a checkpoint, and the bytes of the entries from ``cursor`` to it if they are complete."""
        if end.translation.size > self._limit // 2:
            return
        kept = self._logs.pop(key, None) or _Log()
        self.size -= kept.size
        kept.add(cursor, end, data)
        while self._logs and self.size + kept.size > self._limit:
            _key, oldest = self._logs.popitem(last=False)
            self.size -= oldest.size
        while kept.pages and kept.size > self._limit:
            kept.drop_page()
        if kept.size <= self._limit:
            self._logs[key] = kept
            self.size += kept.size
