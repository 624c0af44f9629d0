"""A request as gunicorn parses it, with a body that is read within limits."""

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
    """How long a client may take, in seconds: for a head from its first byte, for a body from when it is wanted, and
    without a request on a connection that has carried one."""

    headers_s: float
    body_s: float
    idle_s: float


class BoundedRequest(Request):  # type: ignore[misc]
    """One request. Making it reads its head: raises ``TooSlow``, ``ParseException`` and ``OSError``."""

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
        """Put our own reader in the place of gunicorn's, which has checked the framing."""
        super().set_body_reader()
        # gunicorn would ask for the body before the application knows whether it wants it.
        expects, self._expected_100_continue = self._expected_100_continue, False
        options = {"total_s": self._limits.body_s, "expects_continue": expects}
        length = getattr(self.body.reader, "length", None)  # type: ignore[attr-defined]
        if length is None:
            self.body = ChunkedBody(self.unreader, self._uploads, **options)
        else:
            self.body = LengthBody(length, self.unreader, self._uploads, **options)

    def should_close(self) -> bool:
        """Whether no other request can follow. Asked for the answer's headers, and again after it."""
        return super().should_close() or not self.body.can_be_left
