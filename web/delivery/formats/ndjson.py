"""Newline-delimited JSON: one entry per line. What is not an entry has ``type`` and never ``kind``.

In silence a space is sent, which proxies take for a sign of life. It becomes the first character of the next line,
where JSON allows it (RFC 8259 section 2). An empty line would say as much, and many readers of lines fail on it.
"""

from __future__ import annotations

from typing import Any

import orjson

from spool.jobs.log import Gap

MEDIA_TYPE = "application/x-ndjson"


class Ndjson:
    """The format. ``pings``: a line in silence instead, for clients that want to see that the server is there.
    ``announced``: the first line says which job this is, for those who submitted with the same request."""

    media_type = MEDIA_TYPE

    def __init__(self, *, pings: bool = False, announced: bool = False) -> None:
        self._pings = pings
        self._announced = announced

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the id is in the entry
        """One entry, one line."""
        return raw + b"\n"

    def opening(self, attached: dict[str, Any]) -> bytes:
        """The line that names the job, or nothing."""
        return orjson.dumps(attached) + b"\n" if self._announced else b""

    def gap(self, gap: Gap) -> bytes:
        """Entries are missing."""
        return orjson.dumps({"type": "gap", **gap.public()}) + b"\n"

    def gone(self) -> bytes:
        """Nothing comes after the gap, not even a terminal entry, and coming back would not change that."""
        return b'{"type":"gone"}\n'

    def heartbeat(self, last: int) -> bytes:
        """A ping line, for those who asked for it; else white space."""
        return orjson.dumps({"type": "ping", "last": last}) + b"\n" if self._pings else b" "

    def reconnect(self) -> bytes:
        """This server is going away."""
        return b'{"type":"reconnect"}\n'

    def unavailable(self, reason: str, detail: str) -> bytes:
        """Something passing is in the way."""
        return orjson.dumps({"type": "unavailable", "reason": reason, "detail": detail}) + b"\n"


FORMATS = {
    (pings, announced): Ndjson(pings=pings, announced=announced)
    for pings in (False, True)
    for announced in (False, True)
}
"""One object per shape, so that entries are encoded once for all streams of it."""
