"""Newline-delimited JSON: one entry per line. Lines that are not entries have ``type`` and never ``kind``.

The heartbeat is a space, which keeps proxies from timing out. It becomes the first character of the next line, where
JSON allows it (RFC 8259 section 2). An empty line would also do, but many line readers fail on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from spool.jobs.log import Gap
from spool.jobs.waits import Wait

MEDIA_TYPE = "application/x-ndjson"


class Ndjson:
    """The format. ``heartbeat`` is the type of the line that a heartbeat is, for clients that want to see it; empty for
    a space. ``announced``: the first line names the job, for a stream that answers a submit."""

    media_type = MEDIA_TYPE

    def __init__(self, *, heartbeat: str = "", announced: bool = False) -> None:
        self._heartbeat = heartbeat
        self._announced = announced

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the id is in the entry
        """One entry, one line."""
        return raw + b"\n"

    def opening(self, attached: Mapping[str, Any], *, is_relative: bool = False) -> bytes:  # noqa: ARG002 - SSE's
        """The line that names the job; empty unless ``announced``."""
        return orjson.dumps(attached) + b"\n" if self._announced else b""

    def snapshot(self, document: Mapping[str, Any]) -> bytes:
        """The line with the answer so far."""
        return orjson.dumps(document) + b"\n"

    def gap(self, gap: Gap) -> bytes:
        """The line that reports missing entries."""
        return orjson.dumps({"type": "gap", **gap.public()}) + b"\n"

    def end(self, last: int, *, is_gone: bool) -> bytes:  # noqa: ARG002 - the protocol's shape
        """Of a log without a terminal entry, a line: nothing follows the gap, and a reconnect is useless."""
        return b'{"type":"gone"}\n' if is_gone else b""

    def heartbeat(self, last: int) -> bytes:
        """A line, or a space."""
        return orjson.dumps({"type": self._heartbeat, "last": last}) + b"\n" if self._heartbeat else b" "

    def queued(self, wait: Wait) -> bytes:
        """The line that tells what the job waits for."""
        return orjson.dumps(wait.message()) + b"\n"

    def notice(self, text: str | None) -> bytes:
        """The line with the operator's notice."""
        return orjson.dumps({"type": "notice", "text": text}) + b"\n"

    def reconnect(self) -> bytes:
        """The line that ends the stream of a draining process; the client reconnects."""
        return b'{"type":"reconnect"}\n'

    def unavailable(self, reason: str, detail: str) -> bytes:
        """The line that reports a temporary failure."""
        return orjson.dumps({"type": "unavailable", "reason": reason, "detail": detail}) + b"\n"


FORMATS = {
    (heartbeat, announced): Ndjson(heartbeat=heartbeat, announced=announced)
    for heartbeat in ("", "ping", "heartbeat")
    for announced in (False, True)
}
"""One object per variant, so that entries are encoded once for all its streams."""
