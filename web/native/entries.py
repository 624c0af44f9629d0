"""``GET /jobs/{id}/entries``: long polling; with ``wait=0``, short polling by entry."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

import orjson
from flask import Blueprint, Response, request
from pydantic import Field
from typing_extensions import TypedDict

from spool.jobs.entries import kind_of
from spool.jobs.job import Job, Status
from spool.jobs.log import Row
from spool.jobs.waits import Wait
from web import auth
from web.arguments import DIGITS, query
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.delivery.found_entries import WAIT_AT_MOST_S, Found, Waiting, poll, refuse_to_wait
from web.examples import JOB, ROWS
from web.native.beginning import Beginning, SnapshotDocument, beginning
from web.native.entry_document import EntryDocument, GapDocument, Queued
from web.server.peer import presence
from web.services import state

blueprint = Blueprint("long_polling", __name__)

_ENDS = {b"done": Status.SUCCEEDED, b"failed": Status.FAILED, b"cancelled": Status.CANCELLED}


class EntriesQuery(Beginning, Waiting):
    """Which entries to answer with, and how long to wait for them."""

    limit: Annotated[int, Field(ge=1, le=1000), DIGITS] = Field(500, description="The most entries.")
    linger_ms: Annotated[int, Field(ge=0, le=1000), DIGITS] = Field(
        50, description="Milliseconds to collect more entries after a wait for the first."
    )


class EntryList(TypedDict):
    """Entries, and the cursor for the next request. ``ended``: the log has no more. ``queued``: what the job
    waits for, if it does. ``notice``: the operator's, if there is one."""

    entries: list[EntryDocument]
    next: int
    ended: bool
    status: Status
    gap: GapDocument | None
    queued: NotRequired[Queued]
    notice: NotRequired[str]
    snapshot: NotRequired[SnapshotDocument]


@blueprint.get("/jobs/<job_id>/entries")
@scope("jobs:read", shared="entries", is_stream=True)
@Contract(
    query=EntriesQuery,
    answers={
        200: Answer(
            "The entries after `after`, perhaps none.",
            [json_content(EntryList, lambda: _example())],
        )
    },
    errors=[404, 409, 410, 422, 429, 503],
)
def entries(job_id: str) -> Response:
    """Long polling: the entries after ``after``, at once if there are any, otherwise once one comes within ``wait``
    seconds."""
    asked, services = query(EntriesQuery), state()
    wait_s = min(asked.wait_s, WAIT_AT_MOST_S)
    refuse_to_wait(services, wait_s)
    job = services.store.look(job_id, auth.owner())
    auth.refuse_outside(job)
    wants, is_wanted = asked.snapshot == "1", presence(request.environ)
    after, snapshot = beginning(services, job, asked.after, snapshot=wants, is_wanted=is_wanted)
    if snapshot is not None:
        # It is an answer by itself, and the client has something to show.
        wait_s = 0
    found = Found(asked.limit)
    poll(services, job, after, found, wait_s, asked.linger_ms / 1000)
    wait = None if found.rows else services.queue_watch.of(job)
    body = _body(job, after, found, snapshot, wait, services.follower.notice)
    return Response(body, mimetype="application/json", headers={"Cache-Control": "no-store"})


def _example() -> Any:
    found = Found(len(ROWS))
    found.add(ROWS, None, True)
    return orjson.loads(_body(JOB, 0, found))


def _body(
    job: Job,
    after: int,
    found: Found,
    snapshot: SnapshotDocument | None = None,
    wait: Wait | None = None,
    notice: str | None = None,
) -> bytes:
    tail: dict[str, Any] = {"status": _status_after(job, found.rows)}
    if wait is not None:
        tail["queued"] = wait.message()
    if notice is not None:
        tail["notice"] = notice
    if snapshot is not None:
        tail["snapshot"] = snapshot
    return found.body(after, tail)


def _status_after(job: Job, rows: list[Row]) -> str:
    """The job's status as of these entries, which may be newer than its record."""
    if rows and not job.ended:
        return _ENDS.get(kind_of(rows[-1][1]), Status.RUNNING)
    return job.status
