"""The protocol's server-sent events: a ``data`` event with an array of entries, then a ``control`` event with the
offset after them."""

from __future__ import annotations

from typing import NotRequired

import orjson
from typing_extensions import TypedDict

from spool.following.reader import Reader
from spool.jobs.entries import is_terminal
from spool.jobs.log import Row
from spool.jobs.waits import Wait
from web.checkpoints import Frame
from web.delivery.encoding import PerReader, Piece, Trouble
from web.durable_streams.offsets import offset_of
from web.folds import Folds


class DurableMessage(TypedDict):
    """An entry of the log, with the fields of its kind as ``GET /jobs/{id}/entries`` has them."""

    id: int
    kind: str
    at: str


class Control(TypedDict):
    """The offset after the entries so far. ``upToDate``: there are no more yet; ``streamClosed``: none follows."""

    streamNextOffset: str
    streamCursor: NotRequired[str]
    upToDate: NotRequired[bool]
    streamClosed: NotRequired[bool]


class DurableEvents:
    """The events of one stream, from the entry after ``after``, in a log whose last entry is ``last``."""

    def __init__(self, after: int, last: int, cursor: str, *, is_closed: bool = False) -> None:
        self.over = is_closed
        self.last = last
        self._after = after
        self._cursor = cursor

    def opening(self) -> bytes:
        """A control event for a client that has the whole log, so that it knows that at once."""
        return self._control() if self._after >= self.last else b""

    def entries(self, rows: list[Row]) -> bytes:
        """The entries, and the offset after them."""
        self._after, raw = rows[-1]
        self.over = is_terminal(raw)
        return b"event: data\ndata: %b\n\n" % array(rows) + self._control()

    def replay(self, reader: Reader, frame: Frame) -> None:
        """None: pages are not shared."""

    def heartbeat(self) -> bytes:
        """A comment."""
        return b": \n\n"

    def queued(self, wait: Wait) -> bytes:
        """A comment: the protocol has no word for it."""
        return b": queued %b\n\n" % orjson.dumps(wait.message())

    def broken_off(self, code: str, message: str) -> bytes | None:  # noqa: ARG002 - the protocol's shape
        """Nothing more, after which the client continues elsewhere. If entries are missing, the connection is cut."""
        return None if code == Trouble.ENTRIES_MISSING.code else b""

    def _control(self) -> bytes:
        control: Control = {"streamNextOffset": offset_of(self._after)}
        if not self.over:
            control["streamCursor"] = self._cursor
        if self.over or self._after >= self.last:
            control["upToDate"] = True
        if self.over:
            control["streamClosed"] = True
        return b"event: control\ndata: %b\n\n" % orjson.dumps(control)


class DurablePages(PerReader):
    """The events on one kind of connection. They tell where the log ends."""

    __slots__ = ("_events",)

    def __init__(self, events: DurableEvents, frame: Frame, folds: Folds) -> None:
        super().__init__(events, frame, folds)
        self._events = events

    def live(self, reader: Reader) -> bytes | None:
        """The events of a few entries in memory."""
        self._events.last = reader.feed.last
        return super().live(reader)

    def page(self, reader: Reader) -> Piece | None:
        """The events of the next entries."""
        self._events.last = reader.feed.last
        return super().page(reader)


def array(rows: list[Row]) -> bytes:
    """The entries as a JSON array of the bytes in the log."""
    return b"[" + b",".join([raw for _entry_id, raw in rows]) + b"]"
