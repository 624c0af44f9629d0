"""``GET /ws``: many jobs on one WebSocket.

In: ``{"type":"submit", …}`` (the fields of ``POST /jobs``, and ``ref``, which the answer repeats),
``{"type":"follow","job","after"}``, ``unfollow``, ``cancel``.
Out: ``accepted``, ``entry``, ``ended``, ``gap``, ``error``. An ``error`` in answer to a submit means that no job was
created. After ``accepted``, an ``error`` with the job's id means that the job runs but is not followed here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import gevent
from flask import Flask

from spool.errors import SpoolError
from web import auth
from web.contract import Contract
from web.delivery.websocket import received, socket_route
from web.delivery.websocket_messages import Closed
from web.intake.accept import accept
from web.intake.references import References
from web.native.socket_messages import MUX_RECEIVES, MUX_SENDS, UPGRADED
from web.native.submission import draft_of
from web.native.websocket_follow import Followed
from web.problems import Problem, field_problem, problem_of
from web.services import State


def install(app: Flask) -> None:
    """Register the route."""
    socket_route(app, "/ws", "jobs:write", serve, takes_prompts=True)


class _Caller:
    """One client's socket and the jobs that it follows."""

    def __init__(self, services: State, ws: Any, owner: str) -> None:
        self.services = services
        self.owner = owner
        self.followed = Followed(services, ws)

    def answer(self, message: dict[str, Any]) -> None:
        """Execute a message; answer errors with an ``error`` message."""
        context = {name: message[name] for name in ("ref", "job") if isinstance(message.get(name), str)}
        try:
            self._do(message, context)
        except Problem as problem:
            self.refuse(problem, context)
        except SpoolError as exc:
            self.refuse(problem_of(exc), context)

    def refuse(self, problem: Problem, context: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Answer a message with an ``error``."""
        document = problem.document()
        self.followed.say({**context, **document, "problem": document["type"], "type": "error"})

    def _do(self, message: dict[str, Any], context: dict[str, Any]) -> None:
        match message.get("type"):
            case "submit":
                self._submit(message, context)
            case "follow":
                self._follow(message)
            case "unfollow":
                self.followed.unfollow(_job_of(message))
            case "cancel":
                self.services.store.cancel(_job_of(message), self.owner, text_bytes=0)
            case _:
                raise field_problem("type", "must be submit, follow, unfollow or cancel")

    def _submit(self, message: dict[str, Any], context: dict[str, Any]) -> None:
        # Checked before the job is written: an error then means that no job exists.
        self.followed.refuse_when_full()
        fields = {name: value for name, value in message.items() if name not in ("type", "ref")}
        draft = draft_of(
            fields,
            self.owner,
            References(self.services, self.owner),
            surface="ws",
            coalesce_ms=self.services.settings.coalesce_ms,
        )
        job = accept(self.services, draft).job
        context["job"] = job.id
        self.followed.say({"type": "accepted", **context, "status": job.status})
        self.followed.follow(job, 0)

    def _follow(self, message: dict[str, Any]) -> None:
        after = message.get("after", 0)
        if type(after) is not int or not 0 <= after < 10**18:
            raise field_problem("after", "must be an entry's id, or 0")
        self.followed.follow(self.services.store.look(_job_of(message), self.owner), after)


@Contract(answers=UPGRADED, errors=[426, 429, 503], receives=MUX_RECEIVES, sends=MUX_SENDS)
def serve(services: State, ws: Any) -> None:
    """Answer messages until the client disconnects or this process drains. Raises ``Closed``."""
    caller, leave_at = _Caller(services, ws, auth.owner()), float("inf")
    try:
        while ws.connected:
            if services.draining and leave_at == float("inf"):
                # Spread over the drain, like the ends of streams.
                leave_at = time.monotonic() + random.random() * services.spread_s
            if time.monotonic() >= leave_at:
                raise Closed(1001, "this instance is draining; reconnect")
            if not ws.input_buffer:
                ws.event.wait(1.0)
                ws.event.clear()
            for message in received(ws, caller.refuse):
                caller.answer(message)
                # Yield, so that one client's messages do not delay others.
                gevent.sleep(0)
    finally:
        caller.followed.close()


def _job_of(message: dict[str, Any]) -> str:
    job_id = message.get("job")
    if not isinstance(job_id, str):
        raise field_problem("job", "must be a job's id")
    return job_id
