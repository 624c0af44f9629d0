"""The native API's JSON document of a job. Long text is read and sent piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NotRequired, cast

import orjson
from flask import Response, request
from typing_extensions import TypedDict

from spool.errors import JobGone, StoreUnavailable
from spool.jobs.entries import rfc3339
from spool.jobs.job import Job, Priority, Status
from spool.jobs.scheduling import OnBusy
from spool.jobs.store import JobStore
from spool.jobs.waits import Reason, Wait
from web.json_response import json_response
from web.native.signed_links import JobLinks
from web.server.peer import cut


class UpstreamError(TypedDict):
    """What the upstream's own error named."""

    status: NotRequired[int]
    code: NotRequired[str]
    type: NotRequired[str]
    param: NotRequired[str]


class JobError(TypedDict):
    """The reason why a job failed. ``upstream``: the upstream rejected it."""

    code: str
    message: str
    retryable: bool
    upstream: NotRequired[UpstreamError]


class JobConversation(TypedDict):
    """The conversation of a job, and what its submit does while an earlier job of it has not ended."""

    id: str
    on_busy: OnBusy


class WaitingFor(TypedDict):
    """Why a job waits: ``turn``, ``model_full`` (``running``, ``limit``), ``owner_limit`` (these and ``scope``:
    ``owner``, ``owner_model`` or ``fairness_key``), ``upstream`` (``status``, ``until``), ``rate_limit`` (``until``,
    ``scope``: ``model`` or ``owner``), ``paused`` (by an operator), ``no_worker``, ``not_before`` (``until``),
    ``conversation`` (``job``, which has the turn)."""

    reason: Reason
    running: NotRequired[int]
    limit: NotRequired[int]
    scope: NotRequired[str]
    until: NotRequired[str]
    status: NotRequired[int]
    job: NotRequired[str]


class JobUrls(TypedDict):
    """The paths of a job's calls."""

    self: str
    entries: str
    stream: str
    ws: str
    cancel: str


class JobDocument(TypedDict):
    """A job. Times are RFC 3339 in UTC; what is not yet known is null."""

    id: str
    status: Status
    model: str
    owner: str
    priority: Priority
    created_at: str
    started_at: str | None
    ended_at: str | None
    deadline_at: str
    attempt: int
    last_entry: int
    queue_position: int | None
    position_is: Literal["exact", "estimate"] | None
    estimated_start_at: str | None
    waiting_for: WaitingFor | None
    cancel_requested_at: str | None
    finish_reason: str | None
    usage: Mapping[str, Any] | None
    error: JobError | None
    metadata: Mapping[str, Any]
    coalesce: Mapping[str, Any] | None
    batch: str | None
    batch_index: int | None
    fairness_key: str | None
    fairness_weight: float | None
    start_within_s: float | None
    not_before: str | None
    conversation: JobConversation | None
    urls: JobUrls
    links: NotRequired[JobLinks]
    """In the answer to a submit with `links`."""
    text: NotRequired[str]
    """The text so far; not in lists."""


def job_document(job: Job, *, with_text: bool = True, wait: Wait | None = None) -> JobDocument:
    """The job as the API shows it. ``wait`` is what it waits for, where that was looked up."""
    path, scheduling, conversation = f"/jobs/{job.id}", job.scheduling, job.scheduling.conversation
    document: JobDocument = {
        "id": job.id,
        "status": job.status,
        "model": job.model,
        "owner": job.owner,
        "priority": job.priority,
        "created_at": rfc3339(job.created_at),
        "started_at": _time(job.started_at),
        "ended_at": _time(job.ended_at),
        "deadline_at": rfc3339(job.deadline_at),
        "attempt": job.attempt,
        "last_entry": job.last_entry,
        "queue_position": wait.position if wait else job.queue_position,
        "position_is": None,
        "estimated_start_at": None,
        "waiting_for": None,
        "cancel_requested_at": None if job.ended else _time(job.cancel_requested_at),
        "finish_reason": job.finish_reason,
        "usage": job.usage,
        "error": cast(JobError | None, job.error),
        "metadata": job.metadata,
        "coalesce": job.coalesce.public() if job.coalesce else None,
        "batch": job.batch,
        "batch_index": job.batch_index,
        "fairness_key": scheduling.fairness_key or None,
        "fairness_weight": scheduling.fairness_weight,
        "start_within_s": scheduling.start_within_s,
        "not_before": _time(scheduling.not_before),
        "conversation": {"id": conversation.id, "on_busy": conversation.on_busy} if conversation else None,
        "urls": {
            "self": path,
            "entries": f"{path}/entries",
            "stream": f"{path}/stream",
            "ws": f"{path}/ws",
            "cancel": f"{path}/cancel",
        },
    }
    if wait:
        document.update(cast(JobDocument, wait.public()))
    if with_text:
        document["text"] = job.text or ""
    return document


def _time(epoch_s: float | None) -> str | None:
    return None if epoch_s is None else rfc3339(epoch_s)


def job_response(
    store: JobStore,
    job: Job,
    headers: Mapping[str, str] | None = None,
    wait: Wait | None = None,
    links: JobLinks | None = None,
) -> Response:
    """The HTTP response. A job that was read with only the beginning of its text is sent in pieces. If the rest is
    gone, because the job was restarted or deleted, the connection is cut."""
    if not job.text_bytes:
        return json_response(_with_links(job_document(job, wait=wait), links), 200, headers)
    pieces = _until_gone(job_pieces(store, job, links), request.environ)
    response = Response(pieces, mimetype="application/json", headers={"Cache-Control": "no-store"})
    response.headers.update(headers or {})
    return response


def job_pieces(store: JobStore, job: Job, links: JobLinks | None = None) -> Iterator[bytes]:
    """The job's JSON document. Raises like ``rest_of_text``."""
    document = orjson.dumps(_with_links(job_document(job), links))
    if not job.text_bytes:
        yield document
        return
    # The text is the last member: its quote and the brace follow the remaining pieces.
    yield document[:-2]
    for piece in store.rest_of_text(job):
        yield orjson.dumps(piece)[1:-1]
    yield document[-2:]


def _with_links(document: JobDocument, links: JobLinks | None) -> JobDocument:
    """The document with links before the text, which stays the last member."""
    if links is None:
        return document
    text = document.pop("text", "")
    return {**document, "links": links, "text": text}


def _until_gone(pieces: Iterator[bytes], environ: Mapping[str, Any]) -> Iterator[bytes]:
    try:
        yield from pieces
    except (JobGone, StoreUnavailable):
        cut(environ)
