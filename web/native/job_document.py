"""A job as the native API shows it, in pieces where its text is long: what was not sent yet is not read yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson
from flask import Response, request

from spool.errors import JobGone, StoreUnavailable
from spool.jobs.job import Job
from spool.jobs.store import JobStore
from web.delivery.peer import Peer
from web.json_response import json_response


def job_response(store: JobStore, job: Job, headers: Mapping[str, str] | None = None) -> Response:
    """The whole answer. A job that was looked at with the beginning of its text is sent in pieces. Where the rest is
    there no more, since the job was restarted or deleted, the connection is cut."""
    if not job.text_bytes:
        return json_response(job.public(), 200, headers)
    pieces = _until_gone(job_pieces(store, job), Peer(request.environ))
    response = Response(pieces, mimetype="application/json", headers={"Cache-Control": "no-store"})
    response.headers.update(headers or {})
    return response


def job_pieces(store: JobStore, job: Job) -> Iterator[bytes]:
    """The job's JSON document. Raises as ``rest_of_text`` does."""
    document = orjson.dumps(job.public())
    if not job.text_bytes:
        yield document
        return
    # The text comes last, and its quote and the brace behind the rest.
    yield document[:-2]
    for piece in store.rest_of_text(job):
        yield orjson.dumps(piece)[1:-1]
    yield document[-2:]


def _until_gone(pieces: Iterator[bytes], peer: Peer) -> Iterator[bytes]:
    try:
        yield from pieces
    except (JobGone, StoreUnavailable):
        peer.cut()
