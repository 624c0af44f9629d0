"""``GET /jobs/{id}/ws``: one job's log over a WebSocket, a text frame per entry.

Subprotocols: ``spool.json`` (the default), where a frame is an entry, and ``spool.text``, where a frame is the bare
text of a token. Sent text cannot be retracted. So a restart after text was sent, or missing entries, closes a text
socket with 1011. If the job failed or was cancelled, the close reason says so.
"""

from __future__ import annotations

from functools import partial

from flask import Flask, request

from spool.errors import SpoolError
from spool.jobs.job import Job
from web import auth, bounded_json
from web.arguments import query
from web.contract import Contract
from web.delivery.encoding import Encoding, Shared, bare
from web.delivery.formats.ws_json import JsonEntries, message_frame
from web.delivery.formats.ws_text import TextSocket
from web.delivery.live import LiveStream
from web.delivery.websocket import closed_by, json_object, socket_route
from web.native.beginning import StreamBeginning, beginning
from web.native.socket_messages import SOCKET_RECEIVES, SOCKET_SENDS, SUBPROTOCOL, UPGRADED
from web.problems import Problem, field_problem
from web.server.peer import presence
from web.server.websocket import PING_S, WebSocket
from web.server.websocket_protocol import Closed
from web.services import State

_JSON = {
    heartbeat: Shared(JsonEntries(has_visible_heartbeats=heartbeat == "event"), bare)
    for heartbeat in ("comment", "event")
}
"""One object for each form of heartbeats, so that entries are encoded once for all sockets."""


def install(app: Flask) -> None:
    """Register the route."""
    socket_route(app, "/jobs/<job_id>/ws", "jobs:read", follow_job, shared="ws")


@Contract(
    query=StreamBeginning,
    headers=[SUBPROTOCOL],
    answers=UPGRADED,
    errors=[426, 429, 503],
    receives=SOCKET_RECEIVES,
    sends=SOCKET_SENDS,
)
def follow_job(services: State, subprotocol: str | None, job_id: str) -> JobSession:
    """Serve one job's log and accept ``{"type": "cancel"}``. Raises ``Closed`` and the errors of the store."""
    try:
        asked = query(StreamBeginning)
    except Problem as problem:
        raise Closed(1008, problem.detail) from problem
    job = services.store.look(job_id, auth.owner())
    auth.refuse_outside(job)
    may_cancel = auth.caller().may("jobs:write", "cancel")
    is_text = subprotocol == "spool.text"
    wants_snapshot = asked.snapshot == "1" and not is_text
    is_wanted = presence(request.environ)
    after, snapshot = beginning(services, job, asked.after, snapshot=wants_snapshot, is_wanted=is_wanted)
    if is_text:
        # A reader from the beginning starts at the current attempt.
        encoding: Encoding = TextSocket(services.folds, has_text=after > 0)
        return JobSession(services, job, after or job.attempt_first - 1, encoding, may_cancel=may_cancel)
    session = JobSession(services, job, after, _JSON[asked.heartbeat], may_cancel=may_cancel)
    if asked.heartbeat == "event":
        session.heartbeat_s = services.settings.heartbeat_s
    if snapshot is not None:
        session.opening = message_frame(snapshot)
    return session


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
                self._services.store.cancel(self._job_id, self._owner, text_bytes=0)
                self._has_cancelled = True
        except bounded_json.Refused as exc:
            raise Closed(1007, field_problem("body", str(exc)).detail) from exc
        except SpoolError as exc:
            raise closed_by(exc) from exc

    def tick(self, now: float) -> None:
        """The stream has its own deadlines."""
