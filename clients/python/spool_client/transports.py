"""Each transport reads a job's log after the cursor until its connection ends, as steps. Raises ``SpoolError``.

A ``Sink`` gets what the connection brings. The result is the pause that the server asked for, in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from spool_client.documents import Job, has_ended
from spool_client.errors import SpoolError
from spool_client.sse import SseParser
from spool_client.steps import Close, Pause, Read, Request, Steps, exchange, open_stream, parsed
from spool_client.timing import Timing

_FIRST_WAIT_S = 2
"""The first long poll returns soon, also without entries, which shows that no proxy holds it back."""


class Sink(Protocol):
    """What a transport reports to."""

    @property
    def cursor(self) -> int:
        """The id of the last entry that the reader has."""

    @property
    def silence_s(self) -> float:
        """How long a stream may bring nothing."""

    @property
    def should_leave(self) -> bool:
        """Whether a better transport is to be tried; asked between two polls."""

    def opened(self) -> Steps[None]:
        """The connection is active."""

    def document(self, document: Mapping[str, Any]) -> Steps[bool]:
        """An entry or a message; whether it was new."""

    def record(self, job: Job) -> Steps[None]:
        """The record as the only source."""


Transport = Callable[[str, Timing, Sink], Steps[float]]


def read_sse(path: str, timing: Timing, sink: Sink) -> Steps[float]:  # noqa: ARG001 - the shape of a transport
    """Server-sent events. Heartbeats are bytes, so silence is noticed by the driver."""
    after = sink.cursor
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(after)} if after else {})}
    request = Request("GET", f"{path}/stream?after={after}", sink.silence_s, headers)
    answer = yield from open_stream(request, "text/event-stream")
    if answer.status == 204:
        yield Close()
        return 0.0
    parser, announced_s = SseParser(), 0.0
    while chunk := (yield Read()):
        for event in parser.feed(chunk):
            document = json.loads(event.data)
            if event.name == "unavailable":
                error = SpoolError(document["detail"], status=503, problem=document, request=str(request))
                error.retry_after_s = parser.retry_s
                raise error
            if event.name == "reconnect":
                # After any other end the client's own backoff holds.
                announced_s = parser.retry_s
            yield from sink.document(document)
    return announced_s


def read_long(path: str, timing: Timing, sink: Sink) -> Steps[float]:
    """Long polling: the server waits for the next entry."""
    wait_s, spare_s = _FIRST_WAIT_S, timing.silence_s
    while not sink.should_leave:
        request = Request("GET", f"{path}/entries?after={sink.cursor}&wait={wait_s}", wait_s + spare_s)
        page = parsed((yield from exchange(request, wait_s + timing.whole_s)), request)
        yield from _page(page, sink)
        if page["ended"]:
            break
        wait_s, spare_s = timing.long_wait_s, timing.request_s
    return 0.0


def read_short(path: str, timing: Timing, sink: Sink) -> Steps[float]:
    """Short polling: the client waits."""
    pause_s = timing.poll_s
    while not sink.should_leave:
        request = Request("GET", f"{path}/entries?after={sink.cursor}&wait=0", timing.request_s)
        page = parsed((yield from exchange(request, timing.whole_s)), request)
        found = yield from _page(page, sink)
        if page["ended"]:
            break
        pause_s = timing.poll_s if found else min(timing.poll_most_s, pause_s * 1.25)
        yield Pause(pause_s)
    return 0.0


def read_answer(path: str, timing: Timing, sink: Sink) -> Steps[float]:
    """The job's record with its text so far. It needs only one permitted GET."""
    pause_s, tag = timing.poll_s, ""
    while not sink.should_leave:
        request = Request("GET", path, timing.request_s, {"If-None-Match": tag} if tag else {})
        answer = yield from exchange(request, timing.whole_s)
        tag = answer.headers.get("etag", "")
        yield from sink.opened()
        pause_s = min(timing.poll_most_s, pause_s * 1.25)
        if answer.status == 200:
            job: Job = parsed(answer, request)
            yield from sink.record(job)
            if has_ended(job["status"]):
                break
            pause_s = timing.poll_s
        yield Pause(pause_s)
    return 0.0


def _page(page: Mapping[str, Any], sink: Sink) -> Steps[bool]:
    yield from sink.opened()
    if page["gap"]:
        yield from sink.document({"type": "gap", **page["gap"]})
    for entry in page["entries"]:
        yield from sink.document(entry)
    return bool(page["entries"])


READERS: Mapping[str, Transport] = {
    "sse": read_sse,
    "long": read_long,
    "short": read_short,
    "answer": read_answer,
}
