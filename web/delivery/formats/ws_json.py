"""WebSocket messages (RFC 6455): entries in, text frames out, one frame per entry.

``JSON`` is the format of ``/jobs/{id}/ws``: a frame is an entry. On ``/ws``, which carries many jobs, a message names
its job (``JobMessages``). ``bare_text`` is the frame of the subprotocol ``spool.text``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from spool.following.encoder import Encoder
from spool.jobs.entries import Entry, kind_of
from spool.jobs.log import Gap


def frame(payload: bytes) -> bytes:
    """One unmasked text frame, RFC 6455 section 5.2."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


def message(document: dict[str, Any]) -> bytes:
    """One JSON message."""
    return frame(orjson.dumps(document))


def bare_text(raw: bytes) -> bytes:
    """A token's text as a frame; empty for other entries."""
    if kind_of(raw) != b"token":
        return b""
    return frame(str(Entry.decode(raw).fields["text"]).encode())


class JsonEntries(Encoder):
    """The messages of one job's socket."""

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the id is in the entry
        """One entry, one frame."""
        return frame(raw)

    def gap(self, gap: Gap) -> bytes:
        """The message that reports missing entries."""
        return message({"type": "gap", **gap.public()})


JSON = JsonEntries()
"""One object, so that entries are encoded once for all sockets."""


@dataclass(frozen=True, slots=True)
class JobMessages(Encoder):
    """The messages of one job on ``/ws``. Equal for equal jobs, so that entries are encoded once for all sockets."""

    job_id: str

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the id is in the entry
        """One entry, one frame."""
        return frame(b'{"type":"entry","job":"%b","entry":%b}' % (self.job_id.encode(), raw))

    def gap(self, gap: Gap) -> bytes:
        """The message that reports missing entries."""
        return message({"type": "gap", "job": self.job_id, **gap.public()})

    def ended(self, last: int) -> bytes:
        """The message after the log's last entry."""
        return message({"type": "ended", "job": self.job_id, "last": last})

    def error(self, status: int, detail: str) -> bytes:
        """The message that ends the job's entries early."""
        return message({"type": "error", "job": self.job_id, "status": status, "detail": detail})
