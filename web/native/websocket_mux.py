"""``GET /ws``: many jobs on one WebSocket.

In: ``{"type":"submit", …}`` (the fields of ``POST /jobs``, and ``ref``, which the answer repeats),
``{"type":"follow","job","after","snapshot"}``, ``{"type":"follow","batch","after"}``, ``unfollow``, ``cancel``.
Out: ``accepted``, ``snapshot``, ``entry``, ``ended``, ``gap``, ``heartbeat``, ``error``. An ``error`` in answer to a
submit means that no job was created. After ``accepted``, an ``error`` with the job's id means that the job runs but is
not followed here.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flask import Flask

from spool.access.caller import Caller
from spool.errors import SpoolError
from spool.jobs.origin import Origin
from web import auth, bounded_json
from web.arguments import BACK_AT_MOST, LATEST, PLACE_ERROR, query
from web.contract import Contract
from web.delivery.formats.ws_json import message_frame
from web.delivery.websocket import json_object, socket_route
from web.error_problems import problem_of
from web.intake.accept import accept
from web.intake.batch import cancel_batch
from web.intake.references import References
from web.native.beginning import Heartbeats, beginning
from web.native.readable_batch import after_of, logged
from web.native.socket_messages import MUX_RECEIVES, MUX_SENDS, UPGRADED
from web.native.submission import draft_of
from web.native.websocket_follow import Followed
from web.problems import Problem, field_problem
from web.request_ids import budget_of, origin
from web.server.websocket import WebSocket
from web.server.websocket_protocol import Closed
from web.services import State


def install(app: Flask) -> None:
    """Register the route."""
    socket_route(app, "/ws", "jobs:write", serve, takes_prompts=True)


@Contract(query=Heartbeats, answers=UPGRADED, errors=[426, 429, 503], receives=MUX_RECEIVES, sends=MUX_SENDS)
def serve(services: State, subprotocol: str | None) -> MuxSession:  # noqa: ARG001 - there is one only
    """Answer messages until the client disconnects or this process drains."""
    try:
        asked = query(Heartbeats)
    except Problem as problem:
        raise Closed(1008, problem.detail) from problem
    return MuxSession(services, auth.caller(), origin(), has_visible_heartbeats=asked.heartbeat == "event")


class MuxSession:
    """One client's socket and the jobs that it follows."""

    __slots__ = (
        "_address",
        "_caller",
        "_followed",
        "_has_visible_heartbeats",
        "_leave_at",
        "_origin",
        "_owner",
        "_services",
    )

    def __init__(self, services: State, caller: Caller, origin: Origin, *, has_visible_heartbeats: bool) -> None:
        self._has_visible_heartbeats = has_visible_heartbeats
        self._services = services
        self._caller = caller
        self._owner = caller.owner
        self._address = services.authenticator.address()
        self._origin = origin
        self._leave_at: float | None = None
        self._followed: Followed

    def begin(self, socket: WebSocket) -> None:
        """Wait for messages."""
        shows = self._has_visible_heartbeats
        self._followed = Followed(self._services, socket, self._caller, has_visible_heartbeats=shows)

    def tick(self, now: float) -> None:
        """Close the socket when this process drains."""
        if self._leave_at is not None:
            if now >= self._leave_at:
                self._followed.socket.close_with(1001, "this instance is draining; reconnect")
        elif self._services.is_leaving:
            # Spread over the drain, like the ends of streams.
            self._leave_at = now + random.random() * self._services.spread_s

    def message(self, raw: bytes) -> None:
        """Execute a message; answer errors with an ``error`` message. Raises ``Closed`` and ``OSError``."""
        context: dict[str, Any] = {}
        try:
            message = json_object(raw)
            context |= {name: message[name] for name in ("ref", "job", "batch") if isinstance(message.get(name), str)}
            self._do(message, context)
        except bounded_json.Refused as exc:
            self._refuse(field_problem("body", str(exc)))
        except Problem as problem:
            self._refuse(problem, context)
        except SpoolError as exc:
            self._refuse(problem_of(exc), context)

    def _refuse(self, problem: Problem, context: Mapping[str, Any] = MappingProxyType({})) -> None:
        document = problem.document()
        self._say({**context, **document, "problem": document["type"], "type": "error"})

    def _say(self, document: dict[str, Any]) -> None:
        socket = self._followed.socket
        with socket.turn():
            socket.send(message_frame(document))

    def _do(self, message: dict[str, Any], context: dict[str, Any]) -> None:
        match message.get("type"):
            case "submit":
                self._submit(message, context)
            case "follow":
                self._follow(message)
            case "unfollow":
                self._followed.unfollow(_batch_of(message) if "batch" in message else _job_of(message))
            case "cancel":
                self._cancel(message)
            case _:
                raise field_problem("type", "must be submit, follow, unfollow or cancel")

    def _admit(self) -> Caller:
        """Count a message that changes something. Answers the caller with its limits as they are now. Raises a 401 or
        429 ``Problem``, and ``StoreUnavailable``."""
        authenticator = self._services.authenticator
        caller = authenticator.renewed(self._caller)
        authenticator.limits.admit(caller, self._address)
        return caller

    def _submit(self, message: dict[str, Any], context: dict[str, Any]) -> None:
        # Checked before the job is written: an error then means that no job exists.
        self._followed.refuse_when_full()
        caller = self._admit()
        fields = {name: value for name, value in message.items() if name not in ("type", "ref")}
        draft = draft_of(
            fields,
            self._owner,
            References(self._services, self._owner, is_wanted=self._followed.is_wanted),
            surface="ws",
            coalesce_ms=self._services.settings.coalesce_ms,
            origin=replace(self._origin, budget=budget_of(caller)),
        )
        job = accept(self._services, draft).job
        context["job"] = job.id
        self._say({"type": "accepted", **context, "status": job.status})
        self._followed.follow(job, 0)

    def _cancel(self, message: dict[str, Any]) -> None:
        caller = self._admit()
        if "batch" in message:
            _refuse_without_batches(caller)
            cancel_batch(self._services, _batch_of(message), self._owner)
        else:
            self._services.store.cancel(_job_of(message), self._owner, text_bytes=0)

    def _follow_batch(self, message: dict[str, Any]) -> None:
        place, batch_id = _place_of(message), _batch_of(message)
        if message.get("snapshot"):
            raise field_problem("snapshot", "is of a job; a batch has none")
        _refuse_without_batches(self._caller)
        batch = logged(self._services, batch_id, self._owner)
        self._followed.follow(batch.as_log(), after_of(batch, place))

    def _follow(self, message: dict[str, Any]) -> None:
        if "batch" in message:
            self._follow_batch(message)
            return
        place, wants_snapshot = _place_of(message), message.get("snapshot", False)
        if not isinstance(wants_snapshot, bool):
            raise field_problem("snapshot", "must be true or false")
        if "jobs:read" not in self._caller.scopes:
            # The jobs that this socket submits are followed without it, as ``POST /jobs`` streams them.
            raise Problem(403, "Not allowed", "this key lacks the scope jobs:read")
        job = self._services.store.look(_job_of(message), self._owner)
        is_wanted = self._followed.is_wanted
        after, snapshot = beginning(self._services, job, place, snapshot=wants_snapshot, is_wanted=is_wanted)
        opening = message_frame({**snapshot, "job": job.id}) if snapshot is not None else b""
        self._followed.follow(job, after, opening)


def _place_of(message: dict[str, Any]) -> int:
    after = message.get("after", 0)
    if after == "latest":
        return LATEST
    if type(after) is not int or not -BACK_AT_MOST <= after < LATEST:
        raise field_problem("after", PLACE_ERROR)
    return after


def _refuse_without_batches(caller: Caller) -> None:
    """Raise a 403 ``Problem`` for a caller that may not use batches."""
    if "batches" not in caller.scopes:
        raise Problem(403, "Not allowed", "this key lacks the scope batches")


def _batch_of(message: dict[str, Any]) -> str:
    batch_id = message.get("batch")
    if not isinstance(batch_id, str) or "job" in message:
        raise field_problem("batch", "must be a batch's id, without a job")
    return batch_id


def _job_of(message: dict[str, Any]) -> str:
    job_id = message.get("job")
    if not isinstance(job_id, str):
        raise field_problem("job", "must be a job's id")
    return job_id
