"""The plain calls, as steps. Each is repeated while its failure is temporary, for up to ``repeat_s``. A POST is
repeated under one Idempotency-Key, so it never makes two jobs."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from spool_client.backoff import Backoff
from spool_client.documents import AddedLines, Batch, Job
from spool_client.errors import SpoolError
from spool_client.steps import Answer, Emit, Pause, Request, Steps, batch_path, exchange, job_path, parsed
from spool_client.timing import Timing

JSON = "application/json"
JSONL = "application/x-ndjson"

Clock = Callable[[], float]


def call(
    timing: Timing,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    media_type: str = JSON,
    key: str = "",
    silence_s: float = 0.0,
    clock: Clock = time.monotonic,
) -> Steps[Any]:
    """The JSON document of the answer, None if it has none. Raises the last ``SpoolError``."""
    headers = {"Content-Type": media_type} if body is not None else {}
    if method == "POST":
        headers["Idempotency-Key"] = key = key or new_key()
    request = Request(method, path, silence_s or timing.request_s, headers, body)
    until, backoff = clock() + silence_s + timing.repeat_s, Backoff(timing)
    may_have_arrived = False
    while True:
        try:
            answer: Answer = yield from exchange(request, timing.whole_s)
            return parsed(answer, request) if answer.body else None
        except SpoolError as error:
            error.idempotency_key = key
            if method == "DELETE" and may_have_arrived and error.status in (404, 410):
                return None
            pause_s = backoff.next_s(error.retry_after_s)
            if not (error.is_temporary or _is_busy(error)) or clock() + pause_s > until:
                raise
            may_have_arrived = may_have_arrived or error.status == 0
        yield Pause(pause_s)


def _is_busy(error: SpoolError) -> bool:
    """Whether a batch of the same key is being written at this moment."""
    return error.status == 409 and error.retry_after_s > 0


def new_key() -> str:
    """A unique Idempotency-Key."""
    return str(uuid.uuid4())


def submit(timing: Timing, submission: str | Mapping[str, Any], fields: Mapping[str, Any], key: str) -> Steps[Job]:
    """Submit a prompt, or the fields of ``POST /jobs``."""
    document = {**({"prompt": submission} if isinstance(submission, str) else submission), **fields}
    return call(timing, "POST", "/jobs", body=encoded(document), key=key)


def submit_batch(timing: Timing, submissions: Iterable[str | Mapping[str, Any]] | bytes, key: str) -> Steps[Batch]:
    """Submit many, all or none: submissions, or JSON lines as they are in a file."""
    return _post_lines(timing, "/batches", submissions, key)


def open_batch(timing: Timing, fields: Mapping[str, Any], key: str) -> Steps[Batch]:
    """Open a batch, to which lines are added."""
    return call(timing, "POST", "/batches", body=encoded({**fields, "open": True}), key=key)


def add_lines(
    timing: Timing,
    batch: str | Mapping[str, Any],
    submissions: Iterable[str | Mapping[str, Any]] | bytes,
    key: str,
) -> Steps[AddedLines]:
    """Add lines to an open batch, all or none."""
    return _post_lines(timing, f"{batch_path(batch)}/lines", submissions, key)


def _post_lines(
    timing: Timing, path: str, submissions: Iterable[str | Mapping[str, Any]] | bytes, key: str
) -> Steps[Any]:
    if not isinstance(submissions, bytes):
        documents = ({"prompt": one} if isinstance(one, str) else one for one in submissions)
        submissions = b"\n".join(encoded(document) for document in documents)
    return call(timing, "POST", path, body=submissions, media_type=JSONL, key=key, silence_s=timing.batch_s)


def on_job(timing: Timing, method: str, job: str | Mapping[str, Any], action: str = "") -> Steps[Job]:
    """A call about one job that answers its record."""
    return call(timing, method, f"{job_path(job)}{action}")


def on_batch(timing: Timing, method: str, batch: str | Mapping[str, Any], action: str = "") -> Steps[Batch]:
    """A call about one batch that answers its record."""
    return call(timing, method, f"{batch_path(batch)}{action}", silence_s=timing.batch_s if action else 0.0)


def document(timing: Timing, path: str) -> Steps[dict[str, Any]]:
    """A document of the server."""
    return call(timing, "GET", path)


def usage(timing: Timing, since: str, until: str, group: str) -> Steps[dict[str, Any]]:
    """What ended attempts have used."""
    query = {name: value for name, value in {"from": since, "to": until, "group": group}.items() if value}
    return call(timing, "GET", f"/usage?{urlencode(query)}")


def each_job(timing: Timing, wanted: Mapping[str, str], *, limit: int) -> Steps[None]:
    """Emit the caller's jobs, newest first, a page at a time; ``limit`` 0 for all. Empty values filter nothing."""
    query = {name: value for name, value in wanted.items() if value}
    left = limit
    while True:
        size = min(left, 200) if limit else 200
        page = yield from call(timing, "GET", f"/jobs?{urlencode({**query, 'limit': size})}")
        for job in page["jobs"]:
            yield Emit(job)
        left -= len(page["jobs"])
        if page["cursor"] is None or (limit and left <= 0):
            return
        query["cursor"] = page["cursor"]


def readiness(timing: Timing) -> Steps[dict[str, Any]]:
    """``GET /readyz``; its problem document if the server accepts no requests. Not repeated."""
    request = Request("GET", "/readyz", timing.request_s)
    try:
        answer = yield from exchange(request, timing.whole_s)
        return dict(parsed(answer, request))
    except SpoolError as error:
        if error.problem is None:
            raise
        return dict(error.problem)


def text_of(timing: Timing, path: str) -> Steps[str]:
    """An answer that is no JSON. Not repeated."""
    answer = yield from exchange(Request("GET", path, timing.request_s), timing.whole_s)
    return answer.body.decode("utf-8", "replace")


def encoded(document: Any) -> bytes:
    """JSON in UTF-8 on one line."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
