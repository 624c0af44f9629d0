"""gunicorn's request with a head and a body that are read within limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gunicorn.http.message import Request

from spool.deadline import Deadline
from web.limits.uploads import Uploads
from web.server.body import ChunkedBody, LengthBody, RequestBody
from web.server.head import Head
from web.server.source import HEAD_BYTES, Source


@dataclass(frozen=True, slots=True)
class Limits:
    """A client's time limits in seconds: for a head from its first byte, for a body from the application's first read,
    and for an idle kept-alive connection."""

    headers_s: float
    body_s: float
    idle_s: float


class BoundedRequest(Request):  # type: ignore[misc]
    """One request. The constructor reads its head; it raises ``TooSlow``, ``ParseException`` and ``OSError``."""

    body: RequestBody
    _expected_100_continue: bool

    def __init__(self, cfg: Any, source: Source, addr: Any, number: int, limits: Limits, uploads: Uploads) -> None:
        self._limits = limits
        self._uploads = uploads
        source.request = self
        source.begin(Deadline.after(limits.headers_s), HEAD_BYTES)
        Head(source, uploads).receive()
        super().__init__(cfg, source, addr, number)

    def set_body_reader(self) -> None:
        """Replace gunicorn's body reader, after gunicorn has checked the framing."""
        super().set_body_reader()
        # gunicorn would send 100 Continue before the application decides to read the body.
        expects, self._expected_100_continue = self._expected_100_continue, False
        options = {"total_s": self._limits.body_s, "expects_continue": expects}
        length = getattr(self.body.reader, "length", None)  # type: ignore[attr-defined]
        if length is None:
            self.body = ChunkedBody(self.unreader, self._uploads, **options)
        else:
            self.body = LengthBody(length, self.unreader, self._uploads, **options)

    def should_close(self) -> bool:
        """Whether no other request can follow. Called for the response's headers, and again after the response."""
        return super().should_close() or not self.body.can_be_left
