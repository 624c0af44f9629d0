"""Responses: entries in, events out.

It is a fold: the same log gives the same events with the same numbers on every instance. So ``starting_after`` has the
same meaning everywhere, at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Self

import orjson

from spool.jobs.entries import decode_all, is_mark
from spool.jobs.job import Job
from spool.jobs.log import Row
from spool.jobs.waits import Wait
from web.openai.chat_chunks import DONE, PING
from web.openai.errors import error_body
from web.openai.response_fold import ResponseFold
from web.openai.response_output import Event


class ResponseStream:
    """The events of one response as a stream, without those numbered up to ``after``."""

    name = format = "responses"

    def __init__(
        self, job: Job, asked: Mapping[str, Any], *, after: int = -1, seal: Callable[[str], str] | None = None
    ) -> None:
        self._fold = ResponseFold(job, asked, seal)
        self.after = after
        self.number = 0
        """The number of the next event."""

    @property
    def over(self) -> bool:
        """Whether the response has ended."""
        return self._fold.over

    @property
    def size(self) -> int:
        """Its approximate size in bytes."""
        return self._fold.kept_size

    @property
    def parts(self) -> int:
        """The items that ``fork`` copies."""
        return self._fold.parts

    def fork(self) -> Self:
        """A copy that changes by itself; its text and its closed items are shared."""
        other = copy(self)
        other._fold = self._fold.fork()
        return other

    def rest(self, data: bytes) -> bytes:
        """``data``, which ends before the next event, without the events up to ``after``."""
        # Within JSON the quotation marks would be escaped.
        end = b'"sequence_number":%d}\n\n' % min(self.after, self.number - 1)
        at = data.rfind(end)
        return data[at + len(end) :] if at >= 0 else data

    def opening(self) -> bytes:
        """The encoded events before the log's first entry."""
        return self._encode(self._fold.opening())

    def entries(self, rows: list[Row]) -> bytes:
        """The events of these entries. The terminal one also adds the end of the stream."""
        data = [self._entry(entry) for entry in decode_all([raw for _entry_id, raw in rows])]
        return b"".join([*data, DONE] if self.over else data)

    def page(self, rows: list[Row]) -> bytes:
        """The same: each text is an event with a number of its own."""
        return self.entries(rows)

    def heartbeat(self) -> bytes:
        """A comment and a repeated ``response.in_progress``, because some clients' timeouts ignore comments. The
        comment alone while the client already has the event with that number."""
        if self.number - 1 < self.after:
            return PING
        return PING + _encode(self._fold.in_progress(), self.number - 1)

    def queued(self, wait: Wait) -> bytes:
        """The last event again, with its number, and the wait in an extra field ``queued``; nothing while the client
        already has the event with that number."""
        if self.number - 1 < self.after:
            return b""
        opening = self._fold.opening()
        event = opening[-1] if self.number == len(opening) else self._fold.in_progress()
        return _encode({**event, "queued": wait.message()}, self.number - 1)

    def broken_off(self, code: str, message: str) -> bytes:
        """An error event, on which the SDKs raise. The stream can be resumed with ``starting_after``."""
        document = error_body(f"{message}; resume with starting_after={self.number - 1}", "server_error", code)
        data = {"type": "error", "sequence_number": self.number - 1, **document}
        return b"event: error\ndata: " + orjson.dumps(data) + b"\n\n"

    def _entry(self, entry: Mapping[str, Any]) -> bytes:
        item = None if is_mark(entry) else self._fold.open_text(entry["kind"])
        if item is None:
            return self._encode(self._fold.add(entry))
        number, self.number = self.number, self.number + 1
        if number > self.after:
            return item.add_encoded(entry["text"], number)
        item.append(entry["text"])
        return b""

    def _encode(self, events: list[Event]) -> bytes:
        first, self.number = self.number, self.number + len(events)
        if self.number - 1 <= self.after:
            return b""
        return b"".join([_encode(e, n) for n, e in enumerate(events, first) if n > self.after])


def _encode(event: Event, number: int) -> bytes:
    data = orjson.dumps({**event, "sequence_number": number})
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), data)
