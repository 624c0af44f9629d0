"""The body of a submit: read whole and within its limits, then parsed as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from web import bounded_json
from web.limits.bodies import job_bytes
from web.problems import Problem, field_problem
from web.server.body import MalformedBody
from web.services import state
from web.time_slices import pause

_LONG_TEXT = 65_536
"""Bytes of JSON text above which parsing takes so long that the request yields before the check."""
_PIECE_BYTES = 64 * 1024
_IDENTITY = "identity"
GZIP = "gzip"


def json_body() -> Any:
    """The body of a request for one job, as JSON. Raises a 413, 415 or 422 ``Problem``."""
    if request.mimetype != "application/json":
        raise Problem(415, "Wrong media type", "send application/json", headers={"Accept": "application/json"})
    return parse_json(job_body(), "body")


def job_body() -> bytes:
    """The body of a request for one job, of any media type. Raises as ``read_body`` does."""
    settings = state().settings
    request.max_content_length = job_bytes(settings.max_body_bytes, settings.max_prompt_bytes)
    return read_body()


def read_body() -> bytes:
    """The complete request body, because the rest of a batch must not get lost with its client. Raises 413 for a body
    that is too large, 415 for a compressed one, and 400 for a truncated one."""
    body_coding()
    length, most = request.content_length, request.max_content_length or math.inf
    if (length or 0) > most:
        raise RequestEntityTooLarge
    data = _received(most)
    # Werkzeug does not report a body that is shorter than its Content-Length.
    if length is not None and len(data) < length:
        raise ClientDisconnected
    return data


def body_coding(*accepted: str) -> str:
    """The content coding of the body, in lower case: ``identity``, or one of those ``accepted``. Raises a 415
    ``Problem``."""
    coding = request.headers.get("Content-Encoding", "").strip().lower() or _IDENTITY
    if coding not in (_IDENTITY, *accepted):
        # RFC 9110 section 15.5.16.
        detail = " or ".join(["send the body without Content-Encoding", *(f"with {name}" for name in accepted)])
        headers = {"Accept-Encoding": ", ".join([*accepted, _IDENTITY])}
        raise Problem(415, "Wrong content coding", detail, headers=headers)
    return coding


def pieces(size: int = _PIECE_BYTES) -> Iterator[bytes]:
    """The body in pieces of at most ``size`` bytes, within ``request.max_content_length``. Raises
    ``RequestEntityTooLarge``, and ``ClientDisconnected`` for a body that ends too early."""
    length, most, received = request.content_length, request.max_content_length or math.inf, 0
    if (length or 0) > most:
        raise RequestEntityTooLarge
    stream = get_input_stream(request.environ)
    try:
        # No variable for a piece: it would live beside the caller's copy until the next piece comes.
        parts = [stream.read(size)]
        while parts[0]:
            received += len(parts[0])
            if received > most:
                raise RequestEntityTooLarge
            yield parts.pop()
            parts.append(stream.read(size))
    except (OSError, MalformedBody) as exc:
        raise ClientDisconnected from exc
    # Werkzeug does not report a body that is shorter than its Content-Length.
    if length is not None and received < length:
        raise ClientDisconnected


def _received(most: float) -> bytes:
    """The bytes of the body. It does not use ``request.get_data``, which holds an extra buffer of 64 KiB while it waits
    for more."""
    stream, data = get_input_stream(request.environ), bytearray()
    try:
        # No variable for a piece: it would live beside its copy until the next piece comes.
        size = -1
        while size < len(data):
            size = len(data)
            data += stream.read(_PIECE_BYTES)
            if len(data) > most:
                raise RequestEntityTooLarge
    except (OSError, MalformedBody) as exc:
        raise ClientDisconnected from exc
    return bytes(data)


def parse_json(raw: bytes | memoryview, place: str) -> Any:
    """Parse JSON text. Raises a 422 ``Problem`` that names ``place``."""
    try:
        data = bounded_json.load(raw)
    except bounded_json.Refused as exc:
        raise field_problem(place, str(exc)) from exc
    if len(raw) > _LONG_TEXT:
        pause()
    return data
