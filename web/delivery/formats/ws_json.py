"""WebSocket messages (RFC 6455): entries in, text frames out, one frame per entry.

``JsonEntries`` is the format of ``/jobs/{id}/ws`` and ``/batches/{id}/ws``: a frame is an entry. On ``/ws``, which
carries many, a message names its job or batch (``JobMessages``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from spool.jobs.log import Gap
from spool.jobs.waits import Wait
from web.server.websocket_frames import close_frame, text_frame


def message_frame(document: Mapping[str, Any]) -> bytes:
    """One JSON message."""
    return text_frame(orjson.dumps(document))


class JsonEntries:
    """The messages of one job's socket. ``has_visible_heartbeats``: a heartbeat is a message, because JavaScript sees
    no pings."""

    def __init__(self, *, has_visible_heartbeats: bool = False) -> None:
        self._has_visible_heartbeats = has_visible_heartbeats

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the id is in the entry
        """One entry, one frame."""
        return text_frame(raw)

    def gap(self, gap: Gap) -> bytes:
        """The message that reports missing entries."""
        return message_frame({"type": "gap", **gap.public()})

    def end(self, last: int, *, is_gone: bool) -> bytes:  # noqa: ARG002 - the protocol's shape
        """The close frame after the log's last entry."""
        return close_frame(4410, "gone") if is_gone else close_frame(1000)

    def heartbeat(self, last: int) -> bytes:
        """Empty, since the socket pings its client; or a message."""
        return message_frame({"type": "heartbeat", "last": last}) if self._has_visible_heartbeats else b""

    def queued(self, wait: Wait) -> bytes:
        """The message that tells what the job waits for."""
        return message_frame(wait.message())

    def notice(self, text: str | None) -> bytes:
        """The message with the operator's notice."""
        return message_frame({"type": "notice", "text": text})

    def reconnect(self) -> bytes:
        """The close frame of a draining process."""
        return close_frame(1001, "this instance is draining; reconnect")

    def unavailable(self, reason: str, detail: str) -> bytes:  # noqa: ARG002 - the protocol's shape
        """The close frame of a temporary failure."""
        return close_frame(1013, "StoreUnavailable")


def name_of(log_id: str) -> str:
    """The field that names what has this log: ``job`` or ``batch``."""
    return "batch" if log_id.startswith("b") else "job"


class JobMessages:
    """The messages of one job or batch on ``/ws``."""

    def __init__(self, log_id: str, *, has_visible_heartbeats: bool = False) -> None:
        self._name = {name_of(log_id): log_id}
        self._has_visible_heartbeats = has_visible_heartbeats
        self._head = b'{"type":"entry","%b":"%b","entry":' % (name_of(log_id).encode(), log_id.encode())

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the id is in the entry
        """One entry, one frame."""
        return text_frame(self._head + raw + b"}")

    def gap(self, gap: Gap) -> bytes:
        """The message that reports missing entries."""
        return message_frame({"type": "gap", **self._name, **gap.public()})

    def end(self, last: int, *, is_gone: bool) -> bytes:
        """The message after the log's last entry."""
        if is_gone:
            return self._error(410, "the log has expired or was deleted")
        return message_frame({"type": "ended", **self._name, "last": last})

    def heartbeat(self, last: int) -> bytes:
        """Empty, since the socket pings its client; or a message."""
        if not self._has_visible_heartbeats:
            return b""
        return message_frame({"type": "heartbeat", **self._name, "last": last})

    def queued(self, wait: Wait) -> bytes:
        """The message that tells what the job waits for."""
        return message_frame({**wait.message(), **self._name})

    def notice(self, text: str | None) -> bytes:
        """The message with the operator's notice; each followed job has its own."""
        return message_frame({"type": "notice", **self._name, "text": text})

    def reconnect(self) -> bytes:
        """Empty: the socket closes with the code of a draining process."""
        return b""

    def unavailable(self, reason: str, detail: str) -> bytes:  # noqa: ARG002 - the protocol's shape
        """The message that ends the job's entries early."""
        return self._error(503, "Redis is unreachable; retry")

    def _error(self, status: int, detail: str) -> bytes:
        return message_frame({"type": "error", **self._name, "status": status, "detail": detail})
