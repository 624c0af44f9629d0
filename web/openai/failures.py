"""A failed job as an OpenAI error: the upstream's own status, code, type and parameter, and Spool's code beside them.

https://platform.openai.com/docs/guides/error-codes. Clients decide by ``code`` and ``type`` whether to retry, to
shorten the conversation (``context_length_exceeded``) or to show the answer as filtered (``content_filter``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spool.jobs.job import Job
from web.delivery.waiting import early_end
from web.openai.errors import ErrorDocument, OpenAIProblem, error_body
from web.problems import Problem
from web.services import State

CANCELLED: Mapping[str, Any] = {"code": "cancelled", "message": "the job was cancelled", "retryable": False}
RESTARTED: Mapping[str, Any] = {
    "code": "restarted",
    "message": "generation was interrupted and restarted",
    "retryable": True,
}

_OWN = {
    "upstream_rejected": 400,
    "invalid_params": 400,
    "cancelled": 409,
    "upstream_unavailable": 504,
    "deadline_exceeded": 504,
    "start_deadline_exceeded": 504,
    "start_timeout": 504,
    "first_token_timeout": 504,
    "token_timeout": 504,
}
"""The status of Spool's own codes; of all others, 502."""
_BY_TEXT = {
    "context_length_exceeded": re.compile(
        r"context[ _]length|context window|context size|maximum context|prompt is too long|too many (input )?tokens",
        re.I,
    ),
    "content_filter": re.compile(r"content[ _]filter|content management policy|ResponsibleAIPolicyViolation", re.I),
    "insufficient_quota": re.compile(r"insufficient_quota|exceeded your current quota", re.I),
}
"""The codes that clients act on, for upstreams that only say it in words."""
_HOLD_S = 5.0
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Failure:
    """The error of a failed job for clients of ``/v1``."""

    status: int
    code: str
    type: str
    param: str | None
    message: str
    own_code: str
    retryable: bool

    def document(self) -> ErrorDocument:
        """The error object. ``spool``: Spool's own code, and whether another submit may succeed."""
        body = error_body(self.message, self.type, self.code, self.param)
        body["error"]["spool"] = {"code": self.own_code, "retryable": self.retryable}
        return body

    def problem(self, headers: Mapping[str, str]) -> Problem:
        """The HTTP error, which the SDKs do not retry, because Spool already has."""
        title = self.own_code.replace("_", " ")
        return OpenAIProblem(self.status, title, self.document(), {**headers, "x-should-retry": "false"})


def failure_of(error: Mapping[str, Any]) -> Failure:
    """The failure in a job's ``error``."""
    own_code, message = error["code"], error["message"]
    upstream: Mapping[str, Any] = error.get("upstream") or {}
    status = _status(own_code, upstream.get("status"))
    code = _code(own_code, message, status, upstream)
    return Failure(
        status=status,
        code=code,
        type=_type(status, code),
        param=upstream.get("param"),
        message=message,
        own_code=own_code,
        retryable=bool(error.get("retryable")),
    )


def _status(own_code: str, upstream: int | None) -> int:
    if own_code != "upstream_rejected" or upstream is None:
        return _OWN.get(own_code, 502)
    if upstream == 401:
        # The rejected key is Spool's. A client would take 401 for its own.
        return 403
    return upstream if 400 <= upstream < 600 else 502


def _code(own_code: str, message: str, status: int, upstream: Mapping[str, Any]) -> str:
    for code, said in _BY_TEXT.items():
        if status < 500 and upstream and said.search(f"{upstream.get('code') or ''} {message}"):
            return code
    named = upstream.get("code")
    if status < 500 and isinstance(named, str) and _NAME.fullmatch(named):
        return named
    if own_code == "upstream_rejected" and status == 429:
        return "rate_limit_exceeded"
    return own_code


def _type(status: int, code: str) -> str:
    if code == "insufficient_quota":
        return "insufficient_quota"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def refuse_early_failure(services: State, job: Job, headers: Mapping[str, str]) -> None:
    """Hold the status line of a stream until the job has output, for a few seconds at most. Raises the ``Problem`` of a
    job that fails meanwhile: a client that has got a 200 takes an error for a crash, and may submit again."""
    end = early_end(services, job, min(services.settings.heartbeat_s, _HOLD_S))
    if end is not None:
        raise failure_of(end.get("error") or CANCELLED).problem(headers)
