"""Server-sent events: entries in, ``text/event-stream`` bytes out.

https://html.spec.whatwg.org/multipage/server-sent-events.html

Spool's conventions: the first event is ``attached`` (not ``open``, which EventSource fires itself). It has no id,
unless the request named its place from the end of the log. ``id:`` is the cursor. ``retry:`` is random per connection,
so that the readers of a lost server reconnect spread out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response

from spool.jobs.entries import kind_of
from spool.jobs.log import Gap
from spool.jobs.waits import Wait

MEDIA_TYPE = "text/event-stream"
HEADERS = {
    "Cache-Control": "no-cache, no-store, no-transform",
    "X-Accel-Buffering": "no",
}


class Sse:
    """The format. Stateless: one object serves all streams of a process. ``has_visible_heartbeats``: a heartbeat is an
    event, because EventSource shows no comments to its page."""

    media_type = MEDIA_TYPE

    def __init__(self, *, has_visible_heartbeats: bool = False) -> None:
        self._has_visible_heartbeats = has_visible_heartbeats

    def entry(self, entry_id: int, raw: bytes) -> bytes:
        """One entry, one event."""
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (entry_id, kind_of(raw), raw)

    def opening(self, attached: Mapping[str, Any], *, is_relative: bool = False) -> bytes:
        """The first event, sent at once, so that a buffering proxy is noticed. ``is_relative``: the request named its
        place from the log's end, so the event has an id, from which a reconnect continues."""
        cursor = b"id: %d\n" % attached["after"] if is_relative else b""
        return b"retry: %d\n%b%b" % (random.randint(600, 1800), cursor, _event("attached", attached))

    def snapshot(self, document: Mapping[str, Any]) -> bytes:
        """The event with the answer so far. Its id is the cursor of the entries that follow."""
        return b"id: %d\n%b" % (document["last"], _event("snapshot", document))

    def gap(self, gap: Gap) -> bytes:
        """The event that reports missing entries. Its id is just before the first remaining entry, so that a reconnect
        continues there; with none remaining, it is the log's end."""
        return b"id: %d\n%b" % (gap.before, _event("gap", {"type": "gap", **gap.public()}))

    def end(self, last: int, *, is_gone: bool) -> bytes:  # noqa: ARG002 - the protocol's shape
        """Empty: the gap's id is the log's end, and a reconnect from there gets 204 or 410."""
        return b""

    def heartbeat(self, last: int) -> bytes:
        """A comment, which proxies see and clients ignore; or an event."""
        if self._has_visible_heartbeats:
            return _event("heartbeat", {"type": "heartbeat", "last": last})
        return b": %d\n\n" % last

    def queued(self, wait: Wait) -> bytes:
        """The event that tells what the job waits for. It has no id, so a reconnect is not affected."""
        return _event("queued", wait.message())

    def notice(self, text: str | None) -> bytes:
        """The event with the operator's notice. It has no id."""
        return _event("notice", {"type": "notice", "text": text})

    def reconnect(self) -> bytes:
        """The event that ends the stream of a draining process; the client reconnects to another one."""
        return b"retry: %d\n%b" % (random.randint(50, 500), _event("reconnect", {"type": "reconnect"}))

    def unavailable(self, reason: str, detail: str) -> bytes:
        """The event that reports a temporary failure; the client's own retry follows."""
        document = {"type": "unavailable", "reason": reason, "detail": detail}
        return b"retry: %d\n%b" % (random.randint(1500, 2800), _event("unavailable", document))


SSE = Sse()
FORMATS = {"": SSE, "event": Sse(has_visible_heartbeats=True)}
"""One object for each ``heartbeat`` argument, so that entries are encoded once for all its streams."""


def unavailable_response(reason: str, detail: str) -> Response:
    """A 200 response in place of a 429 or 503, either of which would stop an EventSource for good."""
    return Response(SSE.unavailable(reason, detail), mimetype=MEDIA_TYPE, headers=HEADERS)


def _event(name: str, document: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(document))
