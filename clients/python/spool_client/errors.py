"""The client's errors. Each carries the fields that a caller needs to decide.

SpoolError            an answer that is not a success
└── Unreachable       no answer: no connection, a lost one, or silence
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_FINAL = frozenset({400, 403, 404, 410, 413, 415, 422})
_TEMPORARY = frozenset({408, 425, 429})


class SpoolError(Exception):
    """An answer that is not a success.

    ``status``: the HTTP status, 0 without an answer. ``type``, ``title`` and ``detail``: of the server's RFC 9457
    document ``problem``, which is None if the answer is not Spool's. ``request``: method and URL. ``retry_after_s``:
    0 if the server named no time. ``idempotency_key``: of a POST whose outcome is unknown, for a later repetition.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        problem: Mapping[str, Any] | None = None,
        request: str = "",
        retry_after_s: float = 0.0,
        idempotency_key: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.request = request
        self.retry_after_s = retry_after_s
        self.idempotency_key = idempotency_key

    @property
    def type(self) -> str:
        """The kind of the problem, a URI; empty if the answer is not Spool's."""
        return str((self.problem or {}).get("type", ""))

    @property
    def title(self) -> str:
        """The kind of the problem in words."""
        return str((self.problem or {}).get("title", ""))

    @property
    def detail(self) -> str:
        """What is wrong with this request."""
        return str((self.problem or {}).get("detail", ""))

    @property
    def is_temporary(self) -> bool:
        """Whether a retry can succeed without a change."""
        return self.status == 0 or self.status in _TEMPORARY or self.status >= 500

    @property
    def is_refusal(self) -> bool:
        """Whether the server's refusal is final. A proxy's error page with the same status is no refusal, since
        only Spool answers with a problem document. A 401 counts either way: gateways ask for credentials too."""
        return self.status == 401 or (self.status in _FINAL and self.problem is not None)


class Unreachable(SpoolError):
    """No answer. ``is_silence``: the connection was open and brought nothing in time."""

    def __init__(self, message: str, *, request: str = "", is_silence: bool = False) -> None:
        super().__init__(message, request=request)
        self.is_silence = is_silence


def error_of(status: int, headers: Mapping[str, str], body: bytes, request: str) -> SpoolError:
    """The error of an HTTP answer that is not a success."""
    problem = _problem(body) if "json" in headers.get("content-type", "") else None
    message = (problem or {}).get("detail") or (problem or {}).get("title") or f"the server answered {status}"
    return SpoolError(
        str(message),
        status=status,
        problem=problem,
        request=request,
        retry_after_s=retry_after_s(headers.get("retry-after", "")),
    )


def retry_after_s(value: str, now: datetime | None = None) -> float:
    """``Retry-After`` is in seconds, or a date (RFC 9110 section 10.2.3)."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds())


def _problem(body: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
