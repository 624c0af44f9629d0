"""``GET /jobs/{id}/ws``: one job's log over a WebSocket, a text frame per entry.

Subprotocols: ``spool.json`` (the default), where a frame is an entry, and ``spool.text``, where a frame is the bare
text of a token. Sent text cannot be retracted. So a restart after text was sent, or missing entries, closes a text
socket with 1011. If the job failed or was cancelled, the close reason says so.
"""

from __future__ import annotations

from flask import Flask, request

from web import auth
from web.arguments import query
from web.contract import Contract
from web.delivery.encoding import Encoding
from web.delivery.formats.ws_json import message_frame
from web.delivery.formats.ws_text import TextSocket
from web.delivery.websocket import socket_route
from web.native.beginning import StreamBeginning, beginning
from web.native.socket_messages import SOCKET_RECEIVES, SOCKET_SENDS, SUBPROTOCOL, UPGRADED
from web.native.socket_session import JSON, JobSession
from web.problems import Problem
from web.server.peer import presence
from web.server.websocket_protocol import Closed
from web.services import State


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
    session = JobSession(services, job, after, JSON[asked.heartbeat], may_cancel=may_cancel)
    if asked.heartbeat == "event":
        session.heartbeat_s = services.settings.heartbeat_s
    if snapshot is not None:
        session.opening = message_frame(snapshot)
    return session
