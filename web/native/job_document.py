"""The native API's JSON document of a job. Long text is read and sent piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from flask import Response, request

from spool.errors import JobGone, StoreUnavailable
from spool.jobs.job import Job
from spool.jobs.store import JobStore
from web.json_response import json_response
from web.server.peer import cut


def job_response(store: JobStore, job: Job, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP response. A job that was read with only the beginning of its text is sent in pieces. If the rest is
    gone, because the job was restarted or deleted, the connection is cut."""
    if not job.text_bytes:
        return json_response(job.public(), 200, headers)
    pieces = _until_gone(job_pieces(store, job), request.environ)
    response = Response(pieces, mimetype="application/json", headers={"Cache-Control": "no-store"})
    response.headers.update(headers or {})
    return response


def job_pieces(store: JobStore, job: Job) -> Iterator[bytes]:
    """The job's JSON document. Raises like ``rest_of_text``."""
    document = orjson.dumps(job.public())
    if not job.text_bytes:
        yield document
        return
    # The text is the last member: its quote and the brace follow the remaining pieces.
    yield document[:-2]
    for piece in store.rest_of_text(job):
        yield orjson.dumps(piece)[1:-1]
    yield document[-2:]


def _until_gone(pieces: Iterator[bytes], environ: Mapping[str, Any]) -> Iterator[bytes]:
    try:
        yield from pieces
    except (JobGone, StoreUnavailable):
        cut(environ)
