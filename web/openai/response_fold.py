"""A response built from its job's log: each entry gives events, and the response so far can be read at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any, Self

from spool.jobs.conversation import call_id_of
from spool.jobs.entries import Kind, decode_all, is_mark
from spool.jobs.job import Job
from spool.jobs.log import Run
from web.delivery.failures import RESTARTED
from web.openai.client_calls import PREFIXES
from web.openai.client_tools import Called
from web.openai.response_output import CallItem, Event, ReasoningShape, TextItem
from web.openai.response_resource import Outcome, error_of, incomplete_details, resource, usage_of

_ITEM_BYTES = 1024
_PROBABILITY_BYTES = 300
"""Of one token with its log probability, or of one alternative to it."""
_Closed = tuple["_Closed | None", TextItem]


class ResponseFold:
    """One response, built from its job's log. ``asked`` holds the echoed request fields (``ResponsesRequest.echo``).
    ``seal`` seals the reasoning, if the request asked for that."""

    def __init__(self, job: Job, asked: Mapping[str, Any], seal: Callable[[str], str] | None = None) -> None:
        self._job = job
        self._asked = asked
        self._called = {name: Called(*fields) for name, fields in asked.get("called", {}).items()}
        is_summary = bool((asked.get("reasoning") or {}).get("summary"))
        self._shape = ReasoningShape(is_summary, seal if asked.get("seals_reasoning") else None)
        self._background = bool(asked.get("background"))
        self._outcome = Outcome("queued" if self._background else "in_progress")
        self._closed: _Closed | None = None
        """The last closed item, behind those before it. They change no more, so forks share them."""
        self._open: TextItem | None = None
        self._calls: dict[int, CallItem] = {}
        self._count = 0
        """The number of items."""
        self._has_answer = False
        self._refuses = False
        self._has_logprobs = bool(asked.get("logprobs"))
        self._probabilities = 0
        """The number of log probabilities."""
        self._closed_size = 0
        self.over = False
        self.failure: Mapping[str, Any] | None = None
        """The job's error, once it has failed."""

    def fork(self) -> Self:
        """A copy that changes by itself; its text and its closed items are shared."""
        other = copy(self)
        other._outcome = replace(self._outcome)
        other._open = self._open.fork() if self._open is not None else None
        other._calls = {index: call.fork() for index, call in self._calls.items()}
        return other

    @property
    def parts(self) -> int:
        """The items that a fork copies."""
        return 1 + len(self._calls)

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
            item = None if is_mark(entry) else self.open_text(entry["kind"])
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
            case Kind.TOKEN if is_mark(entry):
                return self._mark(entry)
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
                return self._end("response.failed", "failed", entry, error=entry["error"])
            case Kind.CANCELLED:
                return self._end("response.incomplete", "cancelled", entry)
        return []

    def item(self, item_id: str) -> dict[str, Any] | None:
        """The output item of that id, or None."""
        return next((item.item() for item in self._items() if _number(item.item_id) == _number(item_id)), None)

    def size_of(self, item_id: str) -> int:
        """The length of that item's text, in characters."""
        return next((item.size for item in self._items() if _number(item.item_id) == _number(item_id)), 0)

    @property
    def size(self) -> int:
        """The length of all text, in characters."""
        is_open = self._open.size if self._open is not None else 0
        return self._closed_size + is_open + sum([call.size for call in self._calls.values()])

    @property
    def kept_size(self) -> int:
        """Its approximate size in bytes."""
        return self.size + self._count * _ITEM_BYTES + self._probabilities * _PROBABILITY_BYTES

    def _items(self) -> list[TextItem | CallItem]:
        """All items, in order."""
        items: list[TextItem | CallItem] = list(self._calls.values())
        if self._open is not None:
            items.append(self._open)
        closed = self._closed
        while closed is not None:
            closed, item = closed
            items.append(item)
        return sorted(items, key=lambda item: item.index)

    def resource(self, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The current Response object. ``asked`` replaces the echoed request fields."""
        outcome = replace(self._outcome, output=[item.item() for item in self._items()])
        return resource(self._job, self._asked if asked is None else asked, outcome)

    def in_progress(self) -> Event:
        """The ``response.in_progress`` event."""
        return self._response_event("response.in_progress")

    def _response_event(self, kind: str) -> Event:
        return {"type": kind, "response": self.resource()}

    def _begins(self, entry: Mapping[str, Any]) -> list[Event]:
        if entry["kind"] == Kind.RESTARTED and self._has_answer:
            # Text sent to these clients cannot be retracted, and they do not understand a second start.
            return self._end("response.failed", "failed", entry, error=RESTARTED)
        closing = self._close("incomplete") if entry["kind"] == Kind.RESTARTED else []
        if self._outcome.status != "queued":
            return closing
        self._outcome.status = "in_progress"
        return [*closing, self.in_progress()]

    def _text(self, text: str, *, reasoning: bool) -> list[Event]:
        if self._open is not None and self._open.is_answer is not reasoning:
            return [self._open.add(text)]
        closing = self._close("completed")
        index = self._next_index()
        item_id = f"{'rs' if reasoning else 'msg'}_{self._job.id}_{index}"
        item = TextItem(item_id, index, reasoning=reasoning, shape=self._shape, refuses=self._refuses)
        self._has_answer = self._has_answer or not reasoning
        self._open = item
        return [*closing, *item.begin(), item.add(text)]

    def _mark(self, entry: Mapping[str, Any]) -> list[Event]:
        """A refusal is a message of its own. Annotations and log probabilities belong to the open message."""
        if entry.get("refusal"):
            self._refuses = True
            return self._close("completed")
        if self._open is None or not self._open.is_answer:
            return []
        if self._has_logprobs and (tokens := entry.get("logprobs")):
            self._probabilities += sum([1 + len(token.get("top_logprobs") or ()) for token in tokens])
            return self._open.add_logprobs(tokens)
        return self._open.annotate(entry.get("annotations") or ())

    def _call(self, entry: Mapping[str, Any]) -> list[Event]:
        call = self._calls.get(entry["index"])
        if call is not None:
            return call.add(entry["arguments"])
        closing = self._close("completed")
        index = self._next_index()
        name = entry["name"] or ""
        called = self._called.get(name) or Called("function", name)
        prefix = PREFIXES.get(called.type, "fc")
        call = CallItem(f"{prefix}_{self._job.id}_{index}", index, call_id_of(self._job.id, entry), called)
        self._has_answer = True
        self._calls[entry["index"]] = call
        arguments = entry["arguments"]
        return [*closing, *call.begin(), *(call.add(arguments) if arguments else [])]

    def _close(self, status: str) -> list[Event]:
        """Close the open text item. Calls stay open to the end, because their pieces may come in any order."""
        item, self._open = self._open, None
        if item is None:
            return []
        self._closed = self._closed, item
        self._closed_size += item.size
        return item.end(status)

    def _next_index(self) -> int:
        index, self._count = self._count, self._count + 1
        return index

    def _done(self, entry: Mapping[str, Any]) -> list[Event]:
        details = incomplete_details(entry["finish_reason"])
        if details is None:
            return self._end("response.completed", "completed", entry)
        self._outcome.incomplete_details = details
        return self._end("response.incomplete", "incomplete", entry)

    def _end(
        self, kind: str, status: str, entry: Mapping[str, Any], error: Mapping[str, Any] | None = None
    ) -> list[Event]:
        self.over = True
        item_status = "completed" if status == "completed" else "incomplete"
        events = self._close(item_status)
        for call in self._calls.values():
            events += call.end(item_status)
        self.failure = error
        self._outcome.status, self._outcome.error = status, error_of(error) if error is not None else None
        if status == "completed":
            self._outcome.completed_at = int(datetime.fromisoformat(entry["at"]).timestamp())
        return [*events, self._response_event(kind)]


class ReferencedItems(ResponseFold):
    """The items of a response to which a request refers, without the fields of the response's own request."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, {})


def _number(item_id: str) -> str:
    """An item's id without its prefix: that of a call depends on the tools of its request."""
    return item_id.partition("_")[2]
