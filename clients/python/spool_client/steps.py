"""The client's logic without I/O. Each call is a generator of steps; a driver (``sync.py``, ``asynchronous.py``) does
them with httpx. So both clients share every decision: retries, transports, cursors.

A driver answers ``Exchange`` and ``Open`` with an ``Answer`` and ``Read`` with bytes, empty at the end. Without an
answer it throws ``Unreachable`` into the generator.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from spool_client.documents import Document
from spool_client.errors import SpoolError, Unreachable, error_of

_OK = range(200, 300)
_NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class Request:
    """A request. ``silence_s``: how long the connection may bring nothing."""

    method: str
    path: str
    silence_s: float
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Names of headers are lower case. ``body`` is empty for a stream."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a request and read its whole answer within ``whole_s``."""

    request: Request
    whole_s: float


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request and leave its body to ``Read``. Closes the stream before it."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """The next bytes of the open stream."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the open stream, if there is one."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit:
    """Give the caller a document, a record or a line."""

    item: Any


@dataclass(frozen=True, slots=True)
class Changed:
    """Tell the caller that a follow's connection has changed."""


Step = Exchange | Open | Read | Close | Pause | Emit | Changed
T = TypeVar("T")
Steps = Generator[Step, Any, T]


def exchange(request: Request, whole_s: float) -> Steps[Answer]:
    """The answer, if it is a success or 304. Raises ``SpoolError``."""
    answer: Answer = yield Exchange(request, whole_s)
    if answer.status in _OK or answer.status == _NOT_MODIFIED:
        return answer
    raise error_of(answer.status, answer.headers, answer.body, str(request))


def open_stream(request: Request, media_type: str) -> Steps[Answer]:
    """The head of a stream of this media type; a 204 has none. Raises ``SpoolError``."""
    answer: Answer = yield Open(request)
    if answer.status not in _OK:
        body = bytearray()
        while len(body) < 65_536 and (chunk := (yield Read())):
            body += chunk
        yield Close()
        raise error_of(answer.status, answer.headers, bytes(body), str(request))
    found = answer.headers.get("content-type", "no content type")
    if answer.status != 204 and not found.startswith(media_type):
        yield Close()
        raise SpoolError(f"a proxy answered {media_type} with {found}", status=502, request=str(request))
    return answer


def parsed(answer: Answer, request: Request) -> Any:
    """The JSON document of an answer."""
    try:
        return json.loads(answer.body)
    except ValueError:
        raise Unreachable("the answer is not JSON, so it is not Spool's or not whole", request=str(request)) from None


def emit(document: Document | None) -> Steps[int]:
    """Give the caller a document, if it is new; how many there were."""
    if document is None:
        return 0
    yield Emit(document)
    return 1


def job_path(job: str | Mapping[str, Any]) -> str:
    """The path of a job, by its id or its record."""
    return f"/jobs/{quote(job if isinstance(job, str) else job['id'], safe='')}"


def batch_path(batch: str | Mapping[str, Any]) -> str:
    """The path of a batch, by its id or its record."""
    return f"/batches/{quote(batch if isinstance(batch, str) else batch['id'], safe='')}"
