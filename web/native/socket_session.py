"""The session of a WebSocket that serves one log, as JSON, and accepts ``{"type": "cancel"}``."""

from __future__ import annotations

from functools import partial

from spool.errors import SpoolError
from spool.jobs.job import Job
from web import bounded_json
from web.delivery.encoding import Encoding, Shared, bare
from web.delivery.formats.ws_json import JsonEntries
from web.delivery.live import LiveStream
from web.delivery.websocket import closed_by, json_object
from web.problems import field_problem
from web.server.websocket import PING_S, WebSocket
from web.server.websocket_protocol import Closed
from web.services import State

JSON = {
    heartbeat: Shared(JsonEntries(has_visible_heartbeats=heartbeat == "event"), bare)
    for heartbeat in ("comment", "event")
}
"""One object for each form of heartbeats, so that entries are encoded once for all sockets."""


class JobSession:
    """A socket that serves one job's log, and accepts ``{"type": "cancel"}``."""

    __slots__ = (
        "_encoding",
        "_has_cancelled",
        "_job_id",
        "_may_cancel",
        "_owner",
        "_services",
        "_start",
        "heartbeat_s",
        "opening",
    )

    def __init__(self, services: State, job: Job, after: int, encoding: Encoding, *, may_cancel: bool) -> None:
        self._services = services
        self._may_cancel = may_cancel
        self._has_cancelled = False
        self._job_id = job.id
        self._owner = job.owner
        self._encoding = encoding
        self._start: tuple[Job, int] | None = (job, after)
        self.heartbeat_s = PING_S
        self.opening = b""
        """The frames before the entries."""

    def begin(self, socket: WebSocket) -> None:
        """Send the log."""
        if self._start is None:
            return
        follower = self._services.follower
        reader = follower.attach(*self._start)
        # Free the record, which is larger than all the rest of a socket.
        self._start = None
        release = partial(follower.leave, reader)
        opening, self.opening = self.opening, b""
        if opening:
            socket.send_now(opening)
        LiveStream(reader, self._encoding, b"", release, heartbeat_s=self.heartbeat_s).begin(socket)

    def message(self, raw: bytes) -> None:
        """Cancel the job. Raises ``Closed``."""
        try:
            if json_object(raw).get("type") != "cancel":
                raise Closed(1008, 'the only valid message is {"type": "cancel"}')
            if not self._may_cancel:
                raise Closed(1008, "this credential may not cancel jobs")
            if not self._has_cancelled:
                self.cancel(self._services, self._job_id, self._owner)
                self._has_cancelled = True
        except bounded_json.Refused as exc:
            raise Closed(1007, field_problem("body", str(exc)).detail) from exc
        except SpoolError as exc:
            raise closed_by(exc) from exc

    def cancel(self, services: State, log: str, owner: str) -> None:
        """Cancel the job. Raises ``SpoolError``."""
        services.store.cancel(log, owner, text_bytes=0)

    def tick(self, now: float) -> None:
        """The stream has its own deadlines."""
