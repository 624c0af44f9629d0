"""``GET /jobs/{id}/ws``: one job's log over a WebSocket, a text frame per entry.

Subprotocols: ``spool.json`` (the default), where a frame is an entry, and ``spool.text``, where a frame is the bare
text of a token. Sent text cannot be retracted. So a restart after text was sent, or missing entries, closes a text
socket with 1011. If the job failed or was cancelled, the close reason says so.
"""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, request

from spool.following.reader import Reader
from spool.jobs.entries import is_terminal, kind_of
from spool.jobs.log import Row
from web import auth
from web.arguments import After, cursor_of
from web.contract import Contract
from web.delivery.formats import ws_json
from web.delivery.websocket import received, socket_route
from web.delivery.websocket_input import PING_S
from web.delivery.websocket_messages import Closed
from web.native.socket_messages import SOCKET_RECEIVES, SOCKET_SENDS, SUBPROTOCOL, UPGRADED
from web.problems import Problem
from web.services import State

_ROWS = 500


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
def follow_job(services: State, ws: Any, job_id: str) -> None:
    """Serve one job's log and accept ``{"type": "cancel"}``. Raises ``Closed`` and the errors of the store."""
    try:
        after = cursor_of(request.args.get("after"), "after")
    except Problem as problem:
        raise Closed(1008, problem.detail) from problem
    owner = auth.owner()
    job = services.store.look(job_id, owner)
    with services.follower.attach(job, after) as reader:
        live = LiveFrames(ws, reader)
        send = live.send
        if ws.subprotocol == "spool.text":
            if after == 0:
                # A reader from the beginning starts at the current attempt.
                reader.cursor = job.attempt_first - 1
            send = TextSender(ws, reader, has_text=after > 0).send
        ws.event.on_set = reader.wake
        while ws.connected:
            for message in received(ws, _refuse):
                if message.get("type") != "cancel":
                    raise Closed(1008, 'the only valid message is {"type": "cancel"}')
                services.store.cancel(job_id, owner, text_bytes=0)
            ended = send()
            if ended:
                return
            if ended is None:
                _wait(reader)


def _refuse(problem: Problem) -> None:
    raise Closed(1007, problem.detail)


class LiveFrames:
    """Sends entries as JSON. While its greenlet only waits for the next entry, the greenlet that delivers the entry
    also sends it."""

    def __init__(self, ws: Any, reader: Reader) -> None:
        self._ws = ws
        self._reader = reader
        self._left: bytes | memoryview = b""

    def send(self) -> bool | None:
        """Send what is pending. Returns like ``send_entries``."""
        self._reader.on_wake = None
        if left := self._left:
            self._left = b""
            self._ws.sock.send(left)
        ended = send_entries(self._ws, self._reader)
        if ended is None:
            self._reader.on_wake = self._look
        return ended

    def _look(self) -> bool:
        if self._left or self._ws.input_buffer or not self._ws.connected or self._reader.feed.ended:
            return False
        data = self._reader.take_live(ws_json.JSON)
        if data is None:
            return False
        self._left = self._ws.sock.send_now(data)
        return not self._left


def _wait(reader: Reader) -> None:
    if reader.must_leave:
        raise Closed(1001, "this instance is draining; reconnect")
    reader.tick_at = time.monotonic() + PING_S
    reader.wait()


def send_entries(ws: Any, reader: Reader) -> bool | None:
    """Send the pending entries. Returns whether the log ends with them, or None if there were none. Raises ``Closed``
    if the log is gone."""
    taken = reader.take(ws_json.JSON)
    if taken is None:
        return None
    if taken.gap is not None:
        ws.sock.send(ws_json.JSON.gap(taken.gap))
    if taken.data:
        ws.sock.send(taken.data)
    if taken.gone:
        raise Closed(4410, "gone")
    return taken.ended


class TextSender:
    """Sends tokens as bare text. ``has_text``: the client already has text, from before its cursor."""

    def __init__(self, ws: Any, reader: Reader, *, has_text: bool) -> None:
        self._ws = ws
        self._reader = reader
        self._has_text = has_text

    def send(self) -> bool | None:
        """Like ``send_entries``. Raises ``Closed`` if the text cannot continue, or did not end with ``done``."""
        rows, gap, ended = self._reader.take_rows(_ROWS)
        if gap is not None:
            raise Closed(4410, "gone") if gap.earliest is None and ended else Closed(1011, "entries are missing")
        frames = b"".join([self._frame(row) for row in rows])
        if frames:
            self._ws.sock.send(frames)
        if rows and is_terminal(rows[-1][1]) and kind_of(rows[-1][1]) != b"done":
            raise Closed(1000, f"the job ended: {kind_of(rows[-1][1]).decode()}")
        return ended if rows or ended else None

    def _frame(self, row: Row) -> bytes:
        if self._has_text and kind_of(row[1]) == b"restarted":
            raise Closed(1011, "generation was interrupted and restarted")
        data = ws_json.bare_text(row[1])
        self._has_text = self._has_text or bool(data)
        return data
