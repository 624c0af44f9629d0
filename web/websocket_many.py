"""``GET /ws``: many jobs on one WebSocket.

In: ``{"type":"submit", …}`` (the fields of ``POST /jobs``, and ``ref``, which the answer repeats),
``{"type":"follow","job","after"}``, ``unfollow``, ``cancel``.
Out: ``accepted``, ``entry``, ``ended``, ``gap``, ``error``.
"""

from __future__ import annotations

import random
import time
from typing import Any

import gevent
import orjson
from flask import Flask

from spool.errors import SpoolError, StoreUnavailable
from spool.reader import Reader
from web import auth, json_text
from web.jobs import accept
from web.problems import Problem, field_problem, problem_of
from web.state import State
from web.submissions import new_job, parse_submission
from web.websocket_route import Closed, frame, received, socket_route

_FOLLOWED_AT_MOST = 100
_ROWS = 500


def install(app: Flask) -> None:
    """Register the route."""
    socket_route(app, "/ws", "jobs:write", serve)


class _Socket:
    """One client's socket and what it follows."""

    def __init__(self, here: State, ws: Any, owner: str) -> None:
        self.here = here
        self.owner = owner
        self._ws = ws
        self._followed: dict[str, Reader] = {}

    def say(self, document: dict[str, Any]) -> None:
        """Send one message."""
        self._ws.sock.send(frame(orjson.dumps(document)))

    def follow(self, job_id: str, after: int) -> None:
        """Follow a job from ``after`` on, anew if it was followed before."""
        if job_id not in self._followed and len(self._followed) >= _FOLLOWED_AT_MOST:
            raise Problem(429, "Too many requests", f"a socket follows at most {_FOLLOWED_AT_MOST} jobs")
        job = self.here.store.look(job_id, self.owner)
        self.unfollow(job_id)
        reader = self.here.follower.attach(job, after)
        self._followed[job_id] = reader
        gevent.spawn(self._follow, job_id, reader)

    def unfollow(self, job_id: str) -> None:
        """Follow it no more."""
        reader = self._followed.pop(job_id, None)
        if reader is not None:
            # Its greenlet sees it and ends. It is not killed: that could tear the frame that it is sending.
            reader.wake()

    def close(self) -> None:
        """Follow nothing any more. The socket is gone or going, so nobody is held up in a send for long."""
        for job_id in list(self._followed):
            self.unfollow(job_id)

    def _follow(self, job_id: str, reader: Reader) -> None:
        try:
            while self._followed.get(job_id) is reader:
                rows, gap, ended = reader.take_rows(_ROWS)
                if gap is not None:
                    self.say({"type": "gap", "job": job_id, **gap.public()})
                head = b'{"type":"entry","job":"%b","entry":' % job_id.encode()
                if rows:
                    self._ws.sock.send(b"".join([frame(head + raw + b"}") for _id, raw in rows]))
                if ended and gap is not None and gap.earliest is None:
                    self.say({"type": "error", "job": job_id, "status": 410, "detail": "nothing is left of this log"})
                    break
                if ended:
                    self.say({"type": "ended", "job": job_id, "last": reader.cursor})
                    break
                if not rows:
                    reader.wait()
        except StoreUnavailable:
            self.say({"type": "error", "job": job_id, "status": 503, "detail": "Redis cannot be reached now"})
        except OSError:
            self._ws.connected = False
        finally:
            if self._followed.get(job_id) is reader:
                del self._followed[job_id]
            self.here.follower.leave(reader)


def serve(here: State, ws: Any) -> None:
    """Answer messages until the client leaves or this server does."""
    socket, leave_at = _Socket(here, ws, auth.owner()), float("inf")
    try:
        while ws.connected:
            if here.draining and leave_at == float("inf"):
                # Spread, as the streams are.
                leave_at = time.monotonic() + random.random() * here.spread_s
            if time.monotonic() >= leave_at:
                raise Closed(1001, "this server is going away, come back")
            if not ws.input_buffer:
                ws.event.wait(1.0)
                ws.event.clear()
            for message in received(ws):
                _answer(socket, message)
    finally:
        socket.close()


def _answer(socket: _Socket, message: dict[str, Any]) -> None:
    context = {name: message[name] for name in ("ref", "job") if isinstance(message.get(name), str)}
    try:
        _do(socket, message, context)
    except Problem as problem:
        socket.say({**context, **problem.document(), "problem": problem.document()["type"], "type": "error"})
    except SpoolError as exc:
        document = problem_of(exc).document()
        socket.say({**context, **document, "problem": document["type"], "type": "error"})


def _do(socket: _Socket, message: dict[str, Any], context: dict[str, Any]) -> None:
    match message.get("type"):
        case "submit":
            _submit(socket, message, context)
        case "follow":
            _follow(socket, message)
        case "unfollow":
            socket.unfollow(_job_of(message))
        case "cancel":
            socket.here.store.cancel(_job_of(message), socket.owner)
        case _:
            raise field_problem("type", "must be submit, follow, unfollow or cancel")


def _submit(socket: _Socket, message: dict[str, Any], context: dict[str, Any]) -> None:
    fields = {name: value for name, value in message.items() if name not in ("type", "ref")}
    if json_text.is_too_deep(fields):
        raise field_problem("body", f"is nested deeper than {json_text.MAX_DEPTH} levels")
    new = new_job(socket.here, parse_submission(fields), socket.owner, surface="ws")
    job = accept(socket.here, new).job
    socket.say({"type": "accepted", **context, "job": job.id, "status": job.status})
    socket.follow(job.id, 0)


def _follow(socket: _Socket, message: dict[str, Any]) -> None:
    after = message.get("after", 0)
    if type(after) is not int or not 0 <= after < 10**18:
        raise field_problem("after", "must be the number of an entry, or 0")
    socket.follow(_job_of(message), after)


def _job_of(message: dict[str, Any]) -> str:
    job_id = message.get("job")
    if not isinstance(job_id, str):
        raise field_problem("job", "must be a job's id")
    return job_id
