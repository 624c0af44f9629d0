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
from web import auth, json_text
from web.arguments import After, cursor_of
from web.contract import Contract
from web.delivery.encoding import Encoding, Shared, bare
from web.delivery.formats.ws_json import JsonEntries
from web.delivery.formats.ws_text import TextSocket
from web.delivery.live import LiveStream
from web.delivery.websocket import closed_by, json_object, socket_route
from web.native.socket_messages import SOCKET_RECEIVES, SOCKET_SENDS, SUBPROTOCOL, UPGRADED
from web.problems import Problem, field_problem
from web.server.websocket import PING_S, WebSocket
from web.server.websocket_protocol import Closed
from web.services import State

_JSON = Shared(JsonEntries(), bare)
"""One object, so that entries are encoded once for all sockets."""


def install(app: Flask) -> None:
    """Register the route."""
    socket_route(app, "/jobs/<job_id>/ws", "jobs:read", follow_job)


@Contract(
    query=After,
    headers=[SUBPROTOCOL],
    answers=UPGRADED,
    errors=[426, 429, 503],
    receives=SOCKET_RECEIVES,
    sends=SOCKET_SENDS,
)
def follow_job(services: State, subprotocol: str | None, job_id: str) -> JobSession:
    """Serve one job's log and accept ``{"type": "cancel"}``. Raises ``Closed`` and the errors of the store."""
    try:
        after = cursor_of(request.args.get("after"), "after")
    except Problem as problem:
        raise Closed(1008, problem.detail) from problem
    job = services.store.look(job_id, auth.owner())
    if subprotocol != "spool.text":
        return JobSession(services, job, after, _JSON)
    # A reader from the beginning starts at the current attempt.
    return JobSession(services, job, after or job.attempt_first - 1, TextSocket(services.folds, has_text=after > 0))


class JobSession:
    """A socket that serves one job's log, and accepts ``{"type": "cancel"}``."""

    __slots__ = ("_encoding", "_job_id", "_owner", "_services", "_start")

    def __init__(self, services: State, job: Job, after: int, encoding: Encoding) -> None:
        self._services = services
        self._job_id = job.id
        self._owner = job.owner
        self._encoding = encoding
        self._start: tuple[Job, int] | None = (job, after)

    def begin(self, socket: WebSocket) -> None:
        """Send the log."""
        if self._start is None:
            return
        follower = self._services.follower
        reader = follower.attach(*self._start)
        # Free the record, which is larger than all the rest of a socket.
        self._start = None
        release = partial(follower.leave, reader)
        LiveStream(reader, self._encoding, b"", release, heartbeat_s=PING_S).begin(socket)

    def message(self, raw: bytes) -> None:
        """Cancel the job. Raises ``Closed``."""
        try:
            if json_object(raw).get("type") != "cancel":
                raise Closed(1008, 'the only valid message is {"type": "cancel"}')
            self._services.store.cancel(self._job_id, self._owner, text_bytes=0)
        except json_text.Refused as exc:
            raise Closed(1007, field_problem("body", str(exc)).detail) from exc
        except SpoolError as exc:
            raise closed_by(exc) from exc

    def tick(self, now: float) -> None:
        """The stream has its own deadlines."""
