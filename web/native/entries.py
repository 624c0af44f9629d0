"""``GET /jobs/{id}/entries``: long polling; with ``wait=0``, short polling by entry."""

from __future__ import annotations

import time
from contextlib import nullcontext

import orjson
from flask import Blueprint, Response, request

from spool.following.reader import Reader
from spool.jobs.entries import kind_of
from spool.jobs.job import Job, Status
from spool.jobs.log import Gap, Row
from web import auth
from web.arguments import cursor_of, int_arg
from web.auth import scope
from web.delivery.peer import Peer
from web.services import state

blueprint = Blueprint("long_polling", __name__)

_WAIT_S = 25
_WAIT_AT_MOST_S = 55
_LIMIT = 500
_LINGER_MS = 50
_ENDS = {b"done": Status.SUCCEEDED, b"failed": Status.FAILED, b"cancelled": Status.CANCELLED}


@blueprint.get("/jobs/<job_id>/entries")
@scope("jobs:read")
def entries(job_id: str) -> Response:
    """Long polling: the entries after ``after``, at once if there are any, otherwise once one comes within ``wait``
    seconds."""
    after = cursor_of(request.args.get("after"), "after")
    wait_s = min(int_arg("wait", default=_WAIT_S, low=0, high=10**9 - 1), _WAIT_AT_MOST_S)
    limit = int_arg("limit", default=_LIMIT, low=1, high=1000)
    linger_ms = int_arg("linger_ms", default=_LINGER_MS, low=0, high=1000)
    services = state()
    job = services.store.look(job_id, auth.owner())
    # A request that does not wait needs no stream slot.
    place = services.slots.one(job.owner) if wait_s > 0 else nullcontext()
    with place, services.follower.attach(job, after, follow=wait_s > 0) as reader:
        peer = Peer(request.environ)
        peer.watch(reader.wake)
        try:
            rows, gap, ended = _gather(reader, peer, wait_s, limit, linger_ms / 1000)
        finally:
            peer.close()
    return _answer(job, after, rows, gap, ended)


def _gather(
    reader: Reader, peer: Peer, wait_s: float, limit: int, linger_s: float
) -> tuple[list[Row], Gap | None, bool]:
    """The available entries. If it had to wait for the first, it also collects those of the linger time."""
    rows, gap, ended = reader.take_rows(limit)
    until = time.monotonic() + wait_s
    while not rows and gap is None and not ended and not reader.must_leave:
        left_s = until - time.monotonic()
        if left_s <= 0 or (not reader.wait(left_s) and peer.gone):
            return rows, gap, ended
        rows, gap, ended = reader.take_rows(limit)
        if rows and not ended:
            more, ended = _linger(reader, limit - len(rows), time.monotonic() + linger_s)
            rows += more
    return rows, gap, ended


def _linger(reader: Reader, limit: int, until: float) -> tuple[list[Row], bool]:
    rows: list[Row] = []
    while len(rows) < limit:
        left_s = until - time.monotonic()
        if left_s <= 0:
            break
        if reader.wait(left_s):
            more, gap, ended = reader.take_rows(limit - len(rows))
            if gap is not None:
                # The next request starts before the gap and reports it.
                break
            rows += more
            if ended:
                return rows, True
    return rows, False


def _answer(job: Job, after: int, rows: list[Row], gap: Gap | None, ended: bool) -> Response:
    following = after
    if rows:
        following = rows[-1][0]
    elif gap is not None:
        following = max(after, gap.before)
    tail = {
        "next": following,
        "ended": ended,
        "status": _status_after(job, rows),
        "gap": gap.public() if gap is not None else None,
    }
    # The stored bytes go out unchanged, without decoding and encoding.
    body = b'{"entries":[' + b",".join([raw for _id, raw in rows]) + b"]," + orjson.dumps(tail)[1:]
    return Response(body, mimetype="application/json", headers={"Cache-Control": "no-store"})


def _status_after(job: Job, rows: list[Row]) -> str:
    """The job's status as of these entries, which may be newer than its record."""
    if rows and not job.ended:
        return _ENDS.get(kind_of(rows[-1][1]), Status.RUNNING)
    return job.status
