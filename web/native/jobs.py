"""``/jobs``: submit, short polling, cancel, delete, list."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import Field
from typing_extensions import TypedDict
from werkzeug.http import is_resource_modified

from spool.errors import Draining, StoreUnavailable, TooManyStreams
from spool.jobs.job import Job, Status
from spool.jobs.owner_list import JobPage
from spool.jobs.store import TEXT_PIECE_BYTES
from spool.jobs.submission import Submitted
from spool.jobs.waits import Wait
from web import auth
from web.arguments import DIGITS, NAME_AND_VALUE, Query, name_and_value, query
from web.auth import scope
from web.contract import LOCATION, REPLAYED, RETRY_AFTER, Answer, Contract, Parameter, json_content
from web.delivery.building import building
from web.delivery.formats import text
from web.delivery.streaming import streamed, wanted_by_submit
from web.delivery.waiting import wait_for_end
from web.examples import JOB
from web.intake.accept import accept
from web.intake.body import json_body
from web.intake.idempotency import IDEMPOTENCY_KEY, idempotency_of
from web.intake.references import References
from web.json_response import json_response
from web.limits.streams import Slot
from web.native.job_document import JobDocument, job_document, job_response
from web.native.signed_links import JobLinks, job_links
from web.native.stream_contract import LOG_STREAMS
from web.native.submission import Submission, draft_of
from web.negotiation import PREFER, PREFERENCE_APPLIED, preferred_wait_s
from web.problems import field_problem, retry_after
from web.request_ids import origin
from web.services import State, state

blueprint = Blueprint("jobs", __name__)

_WAIT_AT_MOST_S = 55
_POLL_AGAIN_S = (1.0, 30.0)
"""The bounds of ``Retry-After``."""
_ETAG = Parameter("ETag", str, "The job's version, for `If-None-Match`.")
_JOB = json_content(JobDocument, lambda: job_document(JOB))


class Listing(Query):
    """Which of the caller's jobs to list."""

    status: Status | None = Field(None, description="Only jobs in this state.")
    batch: str | None = Field(None, description="Only jobs of this batch.")
    model: Annotated[str, Field(max_length=200)] | None = Field(None, description="Only jobs with this model.")
    metadata: Annotated[str, Field(pattern=NAME_AND_VALUE)] | None = Field(
        None, description="Only jobs with this metadata: `name`, or `name=value`, exactly.", examples=["team=search"]
    )
    limit: Annotated[int, Field(ge=1, le=200), DIGITS] = Field(50, description="The most jobs.")
    cursor: Annotated[str, Field(pattern="^[0-9]{1,18}$")] | None = Field(
        None, description="The `cursor` of the page before."
    )


class JobList(TypedDict):
    """Jobs without their text, newest first. ``cursor`` leads to the next page; null on the last. A page of filtered
    jobs may have few or none and a ``cursor``: an answer examines at most 2,000 jobs."""

    jobs: list[JobDocument]
    cursor: str | None
    limit: int


@blueprint.post("/jobs")
@scope("jobs:write")
@Contract(
    body=[json_content(Submission, lambda: {"prompt": "Why is the sky blue?", "params": {"tokens": 20}})],
    headers=[IDEMPOTENCY_KEY, PREFER],
    answers={
        202: Answer("The job is accepted.", [_JOB], [LOCATION, RETRY_AFTER]),
        200: Answer(
            "The job, if it ended within `Prefer: wait` or an earlier request made it. By `Accept`, its stream.",
            [_JOB, *LOG_STREAMS],
            [LOCATION, REPLAYED, PREFERENCE_APPLIED],
        ),
    },
    errors=[404, 409, 410, 413, 415, 422, 429, 503],
)
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
        origin=origin(),
    )
    links = bool(data.get("links"))
    if media_type is None:
        submitted = accept(services, draft)
        response = _answer(services, submitted, links=links)
    elif links:
        raise field_problem("links", "a stream has no place for links; accept application/json")
    else:
        with Slot(services.slots) as slot:
            submitted = accept(services, draft, slot)
            response = _streamed(submitted, media_type, slot)
    if submitted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _streamed(submitted: Submitted, media_type: str, slot: Slot) -> Response:
    try:
        return streamed(submitted.job, 0, media_type, submitted=True, slot=slot)
    except Draining:
        # The drain began while the job was written. The job is accepted; another process can stream it.
        return _accepted(submitted)


def _answer(services: State, submitted: Submitted, *, links: bool) -> Response:
    job = submitted.job
    wait_s = preferred_wait_s()
    if wait_s is not None:
        wait_s = min(wait_s, _WAIT_AT_MOST_S)
        # The job is accepted even if its end cannot be awaited.
        with suppress(TooManyStreams, StoreUnavailable):
            if job.ended or wait_for_end(services, job, wait_s):
                finished = services.store.look(job.id, job.owner, with_text=True, text_bytes=TEXT_PIECE_BYTES)
                headers = {"Location": f"/jobs/{job.id}", "Preference-Applied": f"wait={wait_s}"}
                return job_response(services.store, finished, headers, links=_links(finished) if links else None)
    return _accepted(submitted, links=links)


def _links(job: Job) -> JobLinks:
    return job_links(state().authenticator.signer, auth.caller(), job)


def _accepted(submitted: Submitted, *, links: bool = False) -> Response:
    job, status = submitted.job, 200 if submitted.replayed else 202
    wait = state().queue_watch.of_new(job)
    document = job_document(job, wait=wait)
    if links:
        document["links"] = _links(job)
    return json_response(document, status, {"Location": f"/jobs/{job.id}", **_poll_again(wait)})


def _poll_again(wait: Wait | None) -> dict[str, str]:
    """The ``Retry-After`` header: until the job may begin, within bounds."""
    least, most = _POLL_AGAIN_S
    left_s = wait.starts_at - time.time() if wait and wait.starts_at else least
    return retry_after(min(max(left_s, least), most))


@blueprint.get("/jobs/<job_id>")
@scope("jobs:read", shared="show")
@Contract(
    headers=[Parameter("If-None-Match", str, "The `ETag` of an earlier answer.")],
    answers={200: Answer("The job.", [_JOB], [_ETAG, RETRY_AFTER]), 304: Answer("Nothing has changed.", (), [_ETAG])},
    errors=[404, 409, 410, 503],
)
def show(job_id: str) -> Response:
    """Short polling: the job with its text so far; 304 if nothing has changed."""
    services = state()
    job = services.store.look(job_id, auth.owner(), with_text=True, text_bytes=TEXT_PIECE_BYTES)
    auth.refuse_outside(job)
    wait = services.queue_watch.of(job)
    etag = f"{job.last_entry}-{job.status}-{_version_of(wait)}-{bool(job.cancel_requested_at)}"
    if not is_resource_modified(request.environ, etag=etag):
        response = Response(status=304, headers={"Cache-Control": "no-store"})
    else:
        response = job_response(services.store, job, {} if job.ended else _poll_again(wait), wait)
    response.set_etag(etag)
    return response


def _version_of(wait: Wait | None) -> str:
    """A wait as a part of the job's version. The estimate is none, because it changes all the time."""
    return "-".join(map(str, (wait.position, wait.reason, *wait.detail.values()))) if wait else ""


@blueprint.post("/jobs/<job_id>/cancel")
@scope("jobs:write", shared="cancel")
@Contract(answers={200: Answer("The job.", [_JOB])}, errors=[404, 409, 410, 503])
def cancel(job_id: str) -> Response:
    """Request the job's cancellation. Works in any state, on any instance, any number of times. The answer has the text
    only for a caller that may read the job."""
    store, caller = state().store, auth.caller()
    if caller.allows is not None:
        auth.refuse_outside(store.look(job_id, caller.owner))
    if not caller.may("jobs:read", "show"):
        return json_response(job_document(store.cancel(job_id, caller.owner, text_bytes=0), with_text=False))
    return job_response(store, store.cancel(job_id, caller.owner, text_bytes=TEXT_PIECE_BYTES))


@blueprint.delete("/jobs/<job_id>")
@scope("jobs:write")
@Contract(answers={204: Answer("The job is deleted.")}, errors=[404, 409, 410, 503])
def delete(job_id: str) -> Response:
    """Delete an ended job."""
    state().store.delete(job_id, auth.owner())
    return Response(status=204)


@blueprint.get("/jobs")
@scope("jobs:read")
@Contract(
    query=Listing,
    answers={200: Answer("A page of jobs.", [json_content(JobList, lambda: _list(JobPage([JOB], None), 50))])},
    errors=[409, 422, 503],
)
def listing() -> Response:
    """List the caller's own jobs, newest first, without their text."""
    services, owner, asked = state(), auth.owner(), query(Listing)
    with building():
        page = services.store.newest(
            owner,
            status=asked.status,
            batch=asked.batch,
            model=asked.model,
            metadata=name_and_value(asked.metadata),
            limit=asked.limit,
            cursor=asked.cursor,
        )
        return json_response(_list(page, asked.limit))


def _list(page: JobPage, limit: int) -> JobList:
    return {"jobs": [job_document(job, with_text=False) for job in page.jobs], "cursor": page.cursor, "limit": limit}
