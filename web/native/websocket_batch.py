"""``GET /batches/{id}/ws``: a batch's log over a WebSocket, a text frame per entry."""

from __future__ import annotations

from flask import Flask

from web import auth
from web.arguments import After, query
from web.contract import Contract
from web.delivery.websocket import socket_route
from web.intake.batch import cancel_batch
from web.native.beginning import Heartbeats
from web.native.readable_batch import after_of, logged
from web.native.socket_messages import BATCH_SOCKET_SENDS, SOCKET_RECEIVES, SUBPROTOCOL, UPGRADED
from web.native.socket_session import JSON, JobSession
from web.problems import Problem
from web.server.websocket_protocol import Closed
from web.services import State


class BatchSocket(After, Heartbeats):
    """The query of a batch's socket."""


def install(app: Flask) -> None:
    """Register the route."""
    socket_route(app, "/batches/<batch_id>/ws", "batches", follow_batch, shared="results")


@Contract(
    query=BatchSocket,
    headers=[SUBPROTOCOL],
    answers=UPGRADED,
    errors=[426, 429, 503],
    receives=SOCKET_RECEIVES,
    sends=BATCH_SOCKET_SENDS,
)
def follow_batch(services: State, subprotocol: str | None, batch_id: str) -> BatchSession:
    """Serve a batch's log and accept ``{"type": "cancel"}``, which cancels the batch. Raises ``Closed`` and the errors
    of the store."""
    try:
        asked = query(BatchSocket)
        batch = logged(services, batch_id, auth.owner())
    except Problem as problem:
        raise Closed(1008, problem.detail) from problem
    if subprotocol == "spool.text":
        raise Closed(1008, "a batch's log is no text; offer spool.json")
    # A token that reads a batch may cancel single jobs of it, at most.
    may_cancel = auth.caller().allows is None
    after = after_of(batch, asked.after)
    session = BatchSession(services, batch.as_log(), after, JSON[asked.heartbeat], may_cancel=may_cancel)
    if asked.heartbeat == "event":
        session.heartbeat_s = services.settings.heartbeat_s
    return session


class BatchSession(JobSession):
    """A socket that serves one batch's log."""

    __slots__ = ()

    def cancel(self, services: State, log: str, owner: str) -> None:
        """Cancel the batch."""
        cancel_batch(services, log, owner)
