"""``/jobs``: submit, short polling, cancel, delete, list."""

from __future__ import annotations

import re
from contextlib import ExitStack, suppress

from flask import Blueprint, Response, request
from werkzeug.http import is_resource_modified

from spool.errors import Draining, StoreUnavailable, TooManyStreams
from spool.jobs.job import Status
from spool.jobs.store import TEXT_PIECE_BYTES, JobPage
from spool.jobs.submission import Submitted
from web import auth
from web.arguments import int_arg
from web.auth import scope
from web.delivery.formats import text
from web.delivery.streaming import streamed, wanted_by_submit
from web.delivery.waiting import wait_for_end
from web.folds import CLIENT_LEFT
from web.intake.accept import accept
from web.intake.body import json_body
from web.intake.idempotency import idempotency_of
from web.intake.references import References
from web.json_response import json_response
from web.native.job_document import job_response
from web.native.submission import draft_of
from web.negotiation import preferred_wait_s
from web.problems import field_problem
from web.server.peer import presence
from web.services import State, state

blueprint = Blueprint("jobs", __name__)

_WAIT_AT_MOST_S = 55
_POLL_AGAIN_S = "1"


@blueprint.post("/jobs")
@scope("jobs:write")
def submit() -> Response:
    """Accept a prompt. Answers 202 and the job at once, its stream, or (``Prefer: wait=N``) the finished job."""
    services, owner, data, media_type = state(), auth.owner(), json_body(), wanted_by_submit()
    draft = draft_of(
        data,
        owner,
        References(services, owner),
        surface="jobs",
        coalesce_ms=services.settings.coalesce_ms,
        streams_text=media_type == text.MEDIA_TYPE,
        idempotency=idempotency_of(data),
    )
    if media_type is None:
        submitted = accept(services, draft)
        response = _answer(services, submitted)
    else:
        with ExitStack() as place:
            submitted = accept(services, draft, place)
            response = _streamed(submitted, media_type, place)
    if submitted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _streamed(submitted: Submitted, media_type: str, place: ExitStack) -> Response:
    try:
        return streamed(submitted.job, 0, media_type, submitted=True, place=place)
    except Draining:
        # The drain began while the job was written. The job is accepted; another process can stream it.
        return _accepted(submitted)


def _answer(services: State, submitted: Submitted) -> Response:
    job = submitted.job
    wait_s = preferred_wait_s()
    if wait_s is not None:
        wait_s = min(wait_s, _WAIT_AT_MOST_S)
        # The job is accepted even if its end cannot be awaited.
        with suppress(TooManyStreams, StoreUnavailable):
            if job.ended or wait_for_end(services, job, wait_s):
                finished = services.store.look(job.id, job.owner, with_text=True, text_bytes=TEXT_PIECE_BYTES)
                headers = {"Location": f"/jobs/{job.id}", "Preference-Applied": f"wait={wait_s}"}
                return job_response(services.store, finished, headers)
    return _accepted(submitted)


def _accepted(submitted: Submitted) -> Response:
    job, status = submitted.job, 200 if submitted.replayed else 202
    return json_response(job.public(), status, {"Location": f"/jobs/{job.id}", "Retry-After": _POLL_AGAIN_S})


@blueprint.get("/jobs/<job_id>")
@scope("jobs:read")
def show(job_id: str) -> Response:
    """Short polling: the job with its text so far; 304 if nothing has changed."""
    services = state()
    job = services.store.look(job_id, auth.owner(), with_text=True, text_bytes=TEXT_PIECE_BYTES)
    etag = f"{job.last_entry}-{job.status}-{job.queue_position}-{bool(job.cancel_requested_at)}"
    if not is_resource_modified(request.environ, etag=etag):
        response = Response(status=304, headers={"Cache-Control": "no-store"})
    else:
        response = job_response(services.store, job, {} if job.ended else {"Retry-After": _POLL_AGAIN_S})
    response.set_etag(etag)
    return response


@blueprint.post("/jobs/<job_id>/cancel")
@scope("jobs:write")
def cancel(job_id: str) -> Response:
    """Request the job's cancellation. Works in any state, on any instance, any number of times."""
    store = state().store
    return job_response(store, store.cancel(job_id, auth.owner(), text_bytes=TEXT_PIECE_BYTES))


@blueprint.delete("/jobs/<job_id>")
@scope("jobs:write")
def delete(job_id: str) -> Response:
    """Delete an ended job."""
    state().store.delete(job_id, auth.owner())
    return Response(status=204)


@blueprint.get("/jobs")
@scope("jobs:read")
def listing() -> Response:
    """List the caller's own jobs, newest first, without their text."""
    limit, status, cursor = int_arg("limit", default=50, low=1, high=200), _status_arg(), _cursor_arg()
    services, owner, batch = state(), auth.owner(), request.args.get("batch")
    # A page of large records takes several MB to make, so only a few are made at a time.
    with services.folds.whole(presence(request.environ)) as is_wanted:
        if not is_wanted:
            return Response(status=CLIENT_LEFT)
        page = services.store.newest(owner, status=status, batch=batch, limit=limit, cursor=cursor)
        return _page(page, limit)


def _page(page: JobPage, limit: int) -> Response:
    return json_response(
        {"jobs": [job.public(with_text=False) for job in page.jobs], "cursor": page.cursor, "limit": limit}
    )


def _status_arg() -> Status | None:
    value = request.args.get("status")
    try:
        return Status(value) if value is not None else None
    except ValueError:
        raise field_problem("status", f"must be one of {', '.join(Status)}") from None


def _cursor_arg() -> str | None:
    value = request.args.get("cursor")
    if value is not None and not re.fullmatch(r"[0-9]{1,18}", value):
        raise field_problem("cursor", "invalid cursor")
    return value
