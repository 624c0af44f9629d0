"""AG-UI's events: entries in, numbered events out.

https://docs.ag-ui.com/concepts/events. An event's id is the job's id and the event's number, a function of the log:
with it a client continues the same run at any instance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import orjson
from typing_extensions import TypedDict

from spool.jobs.conversation import call_id_of
from spool.jobs.entries import Kind, is_mark
from spool.jobs.job import Job
from spool.jobs.waits import Wait
from web.delivery.failures import CANCELLED, RESTARTED, failure_of
from web.entry_translation import EntryTranslation

_PING = b": ping\n\n"
_END = b"\n\n"
_CALL_BYTES = 64
_ID = re.compile(r"(?P<job>[a-z0-9-]{1,64})/(?P<number>[0-9]{1,9})")


class AgUiEvent(TypedDict):
    """One event of a run; its other fields depend on its type."""

    type: str


def place_of(event_id: str) -> tuple[str, int] | None:
    """The job and the number in an event's id; None if it is none."""
    match = _ID.fullmatch(event_id)
    return (match["job"], int(match["number"])) if match else None


class AgUiStream(EntryTranslation):
    """The events of one run, without those numbered up to ``after``."""

    name = "agui"

    def __init__(self, job: Job, run: Mapping[str, str], *, after: int = -1) -> None:
        self._job = job
        self._run = run
        self.after = after
        self.number = 0
        """The number of the next event."""
        self._messages = 0
        self._open: tuple[str, str] | None = None
        """The kind and the id of the open message."""
        self._calls: dict[int, str] = {}
        self._has_answer = False

    @property
    def format(self) -> tuple[str, ...]:
        """Its format: the run's names are in its last event."""
        return self.name, *self._run.values()

    @property
    def size(self) -> int:
        """Its approximate size in bytes."""
        return _CALL_BYTES * len(self._calls)

    @property
    def parts(self) -> int:
        """The calls that ``fork`` copies."""
        return len(self._calls)

    def fork(self) -> Self:
        """A copy that changes by itself."""
        other = copy(self)
        other._calls = dict(self._calls)
        return other

    def rest(self, data: bytes) -> bytes:
        """``data``, which ends before the next event, without the events up to ``after``."""
        known = self.after + 1 - (self.number - data.count(_END))
        return _END.join(data.split(_END)[max(0, known) :])

    def opening(self) -> bytes:
        """The start of the run."""
        return self._encode([{"type": "RUN_STARTED", **self._run}])

    def heartbeat(self) -> bytes:
        """A comment line."""
        return _PING

    def queued(self, wait: Wait) -> bytes:
        """A comment: a wait has no place in the log, so its event would have no number."""
        return b": queued %b\n\n" % orjson.dumps(wait.message())

    def broken_off(self, code: str, message: str) -> None:
        """None, which cuts the connection: an error would end the run, which the client can continue."""

    def _entry(self, entry: dict[str, Any]) -> bytes:
        return self._encode(self._events(entry))

    def _events(self, entry: dict[str, Any]) -> list[dict[str, Any]]:
        match entry["kind"]:
            case Kind.TOKEN if not is_mark(entry):
                self._has_answer = True
                return self._text("TEXT", entry["text"])
            case Kind.REASONING:
                return self._text("REASONING", entry["text"])
            case Kind.TOOL_CALL:
                self._has_answer = True
                return self._call(entry)
            case Kind.RESTARTED if self._has_answer:
                return self._failed(RESTARTED)
            case Kind.RESTARTED:
                return self._close()
            case Kind.DONE:
                self.over = True
                return [*self._close_all(), {"type": "RUN_FINISHED", **self._run}]
            case Kind.FAILED:
                return self._failed(entry["error"])
            case Kind.CANCELLED:
                return self._failed(CANCELLED)
        return []

    def _text(self, kind: str, text: str) -> list[dict[str, Any]]:
        opening: list[dict[str, Any]] = []
        if self._open is None or self._open[0] != kind:
            closing, self._open = self._close(), (kind, f"msg_{self._job.id}_{self._messages}")
            opening = [*closing, *self._begin(*self._open)]
        if not text:
            # Clients refuse an empty delta.
            return opening
        return [*opening, {"type": f"{kind}_MESSAGE_CONTENT", "messageId": self._open[1], "delta": text}]

    def _begin(self, kind: str, message_id: str) -> list[dict[str, Any]]:
        self._messages += 1
        role = "assistant" if kind == "TEXT" else "reasoning"
        start = {"type": f"{kind}_MESSAGE_START", "messageId": message_id, "role": role}
        return [start] if kind == "TEXT" else [{"type": "REASONING_START", "messageId": message_id}, start]

    def _close(self) -> list[dict[str, Any]]:
        """Close the open message."""
        if self._open is None:
            return []
        (kind, message_id), self._open = self._open, None
        end = {"type": f"{kind}_MESSAGE_END", "messageId": message_id}
        return [end] if kind == "TEXT" else [end, {"type": "REASONING_END", "messageId": message_id}]

    def _call(self, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        call_id = self._calls.get(entry["index"])
        if call_id is None:
            call_id = self._calls[entry["index"]] = call_id_of(self._job.id, entry)
            parent = f"msg_{self._job.id}_calls"
            start = {"toolCallId": call_id, "toolCallName": entry["name"] or "", "parentMessageId": parent}
            events = [*self._close(), {"type": "TOOL_CALL_START", **start}]
        if entry["arguments"]:
            events.append({"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": entry["arguments"]})
        return events

    def _close_all(self) -> list[dict[str, Any]]:
        # The calls are complete only now, because their pieces may come in any order.
        ends = [{"type": "TOOL_CALL_END", "toolCallId": call_id} for call_id in self._calls.values()]
        return [*self._close(), *ends]

    def _failed(self, error: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.over = True
        failure = failure_of(error)
        said = {"message": failure.message, "code": failure.code, "rawEvent": error}
        return [*self._close_all(), {"type": "RUN_ERROR", **said}]

    def _encode(self, events: list[dict[str, Any]]) -> bytes:
        first, self.number = self.number, self.number + len(events)
        return b"".join([self._encoded(event, n) for n, event in enumerate(events, first) if n > self.after])

    def _encoded(self, event: Mapping[str, Any], number: int) -> bytes:
        return b"id: %b/%d\ndata: %b\n\n" % (self._job.id.encode(), number, orjson.dumps(event))
