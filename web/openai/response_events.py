"""Responses: entries in, events out.

It is a fold: the same log gives the same events with the same numbers on every instance. So ``starting_after`` has the
same meaning everywhere, at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from spool.following.reader import Reader
from spool.jobs.conversation import call_id_of
from spool.jobs.entries import Kind, decode_all
from spool.jobs.job import Job
from spool.jobs.log import Row, Run
from web.openai.chat_chunks import DONE, PING
from web.openai.errors import error_body
from web.openai.response_output import CallItem, Event, TextItem
from web.openai.response_resource import Outcome, error_of, incomplete_details, resource, usage_of

_RESTARTED = {"code": "restarted", "message": "generation was interrupted and restarted"}


class ResponseFold:
    """One response, built from its job's log. ``asked`` holds the echoed request fields (``ResponsesRequest.echo``)."""

    def __init__(self, job: Job, asked: Mapping[str, Any]) -> None:
        self._job = job
        self._asked = asked
        self._background = bool(asked.get("background"))
        self._outcome = Outcome("queued" if self._background else "in_progress")
        self._items: list[TextItem | CallItem] = []
        self._open: TextItem | None = None
        self._calls: dict[int, CallItem] = {}
        self.over = False

    def opening(self) -> list[Event]:
        """The events before the log's first entry."""
        created = self._response_event("response.created")
        return [created, self._response_event("response.queued" if self._background else "response.in_progress")]

    def open_text(self, kind: str) -> TextItem | None:
        """The open item to which an entry of that kind only appends text, or None."""
        item = self._open
        if item is None or self.over or kind != (Kind.TOKEN if item.is_answer else Kind.REASONING):
            return None
        return item

    def add_all(self, raws: Sequence[bytes]) -> None:
        """Add the next encoded entries, without making events. Raises ``UndecodableRecord``."""
        for entry in decode_all(raws):
            item = self.open_text(entry["kind"])
            if item is not None:
                item.append(entry["text"])
            else:
                self.add(entry)

    def add_run(self, run: Run) -> bool:
        """Add a run of entries at once. False: nothing was added, and they must be added one by one."""
        item = self.open_text(run.kind)
        if item is not None:
            item.append(run.text)
        return item is not None

    def add(self, entry: Mapping[str, Any]) -> list[Event]:
        """The events of the next entry."""
        if self.over:
            return []
        match entry["kind"]:
            case Kind.TOKEN:
                return self._text(entry["text"], reasoning=False)
            case Kind.REASONING:
                return self._text(entry["text"], reasoning=True)
            case Kind.TOOL_CALL:
                return self._call(entry)
            case Kind.USAGE:
                self._outcome.usage = usage_of(entry)
            case Kind.STARTED | Kind.RESTARTED | Kind.CONTINUED:
                return self._begins(entry)
            case Kind.DONE:
                return self._done(entry)
            case Kind.FAILED:
                return self._end("response.failed", "failed", entry, error=error_of(entry["error"]))
            case Kind.CANCELLED:
                return self._end("response.incomplete", "cancelled", entry)
        return []

    def item(self, item_id: str) -> dict[str, Any] | None:
        """The output item of that id, or None."""
        return next((item.item() for item in self._items if item.item_id == item_id), None)

    def size_of(self, item_id: str) -> int:
        """The length of that item's text, in characters."""
        return next((item.size for item in self._items if item.item_id == item_id), 0)

    @property
    def size(self) -> int:
        """The length of all text, in characters."""
        return sum(item.size for item in self._items)

    def resource(self, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The current Response object. ``asked`` replaces the echoed request fields."""
        self._outcome.output = [item.item() for item in self._items]
        return resource(self._job, self._asked if asked is None else asked, self._outcome)

    def in_progress(self) -> Event:
        """The ``response.in_progress`` event."""
        return self._response_event("response.in_progress")

    def _response_event(self, kind: str) -> Event:
        return {"type": kind, "response": self.resource()}

    def _begins(self, entry: Mapping[str, Any]) -> list[Event]:
        if entry["kind"] == Kind.RESTARTED and any(item.is_answer for item in self._items):
            # Text sent to these clients cannot be retracted, and they do not understand a second start.
            return self._end("response.failed", "failed", entry, error=error_of(_RESTARTED))
        closing = self._close("incomplete") if entry["kind"] == Kind.RESTARTED else []
        if self._outcome.status != "queued":
            return closing
        self._outcome.status = "in_progress"
        return [*closing, self.in_progress()]

    def _text(self, text: str, *, reasoning: bool) -> list[Event]:
        if self._open is not None and self._open.is_answer is not reasoning:
            return [self._open.add(text)]
        closing = self._close("completed")
        index = len(self._items)
        item = TextItem(f"{'rs' if reasoning else 'msg'}_{self._job.id}_{index}", index, reasoning=reasoning)
        self._items.append(item)
        self._open = item
        return [*closing, *item.begin(), item.add(text)]

    def _call(self, entry: Mapping[str, Any]) -> list[Event]:
        call = self._calls.get(entry["index"])
        if call is not None:
            return [call.add(entry["arguments"])]
        closing = self._close("completed")
        index = len(self._items)
        name = entry["name"] or ""
        call = CallItem(f"fc_{self._job.id}_{index}", index, call_id_of(self._job.id, entry), name)
        self._items.append(call)
        self._calls[entry["index"]] = call
        arguments = entry["arguments"]
        return [*closing, *call.begin(), *([call.add(arguments)] if arguments else [])]

    def _close(self, status: str) -> list[Event]:
        """Close the open text item. Calls stay open to the end, because their pieces may come in any order."""
        item, self._open = self._open, None
        return item.end(status) if item is not None else []

    def _done(self, entry: Mapping[str, Any]) -> list[Event]:
        details = incomplete_details(entry["finish_reason"])
        if details is None:
            return self._end("response.completed", "completed", entry)
        self._outcome.incomplete_details = details
        return self._end("response.incomplete", "incomplete", entry)

    def _end(self, kind: str, status: str, entry: Mapping[str, Any], error: Any = None) -> list[Event]:
        self.over = True
        item_status = "completed" if status == "completed" else "incomplete"
        events = self._close(item_status)
        for call in self._calls.values():
            events += call.end(item_status)
        self._outcome.status, self._outcome.error = status, error
        if status == "completed":
            self._outcome.completed_at = int(datetime.fromisoformat(entry["at"]).timestamp())
        return [*events, self._response_event(kind)]


class ResponseStream:
    """The events of one response as a stream, without those numbered up to ``after``."""

    name = "responses"

    def __init__(self, job: Job, asked: Mapping[str, Any], *, after: int = -1) -> None:
        self._fold = ResponseFold(job, asked)
        self._after = after
        self._next = 0

    @property
    def over(self) -> bool:
        """Whether the response has ended."""
        return self._fold.over

    def opening(self) -> bytes:
        """The encoded events before the log's first entry."""
        return self._encode(self._fold.opening())

    def entries(self, rows: list[Row]) -> bytes:
        """The events of these entries. The terminal one also adds the end of the stream."""
        data = [self._entry(entry) for entry in decode_all([raw for _entry_id, raw in rows])]
        return b"".join([*data, DONE] if self.over else data)

    def skip(self, reader: Reader) -> bool:
        """Skip a page whose entries only add text and are all before ``starting_after``; each is one event."""
        if self._next > self._after:
            return False
        run = reader.run_ahead()
        if run is None or self._next + run.count - 1 > self._after or not self._fold.add_run(run):
            return False
        self._next += run.count
        reader.cursor = run.last
        return True

    def heartbeat(self) -> bytes:
        """A comment and a repeated ``response.in_progress``, because some clients' timeouts ignore comments. The
        comment alone while the client already has the event with that number."""
        if self._next - 1 < self._after:
            return PING
        return PING + _encode(self._fold.in_progress(), self._next - 1)

    def broken_off(self, code: str, message: str) -> bytes:
        """An error event, on which the SDKs raise. The stream can be resumed with ``starting_after``."""
        document = error_body(f"{message}; resume with starting_after={self._next - 1}", "server_error", code)
        data = {"type": "error", "sequence_number": self._next - 1, **document}
        return b"event: error\ndata: " + orjson.dumps(data) + b"\n\n"

    def _entry(self, entry: Mapping[str, Any]) -> bytes:
        item = self._fold.open_text(entry["kind"])
        if item is None:
            return self._encode(self._fold.add(entry))
        number, self._next = self._next, self._next + 1
        if number > self._after:
            return item.add_encoded(entry["text"], number)
        item.append(entry["text"])
        return b""

    def _encode(self, events: list[Event]) -> bytes:
        first, self._next = self._next, self._next + len(events)
        if self._next - 1 <= self._after:
            return b""
        return b"".join([_encode(e, n) for n, e in enumerate(events, first) if n > self._after])


def _encode(event: Event, number: int) -> bytes:
    data = orjson.dumps({**event, "sequence_number": number})
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), data)
