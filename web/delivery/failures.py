"""Failed jobs, as other protocols report them: the upstream's own status and code, and Spool's code beside them.

Clients decide by the code whether to retry, to shorten the conversation (``context_length_exceeded``) or to show the
answer as filtered (``content_filter``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import TypedDict

from spool.jobs.job import Job
from web.delivery.waiting import early_end
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
    "unsupported_output": 400,
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


class ReportedError(TypedDict):
    """Spool's own code of a failed job, and whether another submit may succeed."""

    code: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a job. ``status`` is an HTTP status, ``own_code`` Spool's code, ``kind`` and ``param`` the
    upstream's type and parameter, if it names them."""

    status: int
    code: str
    kind: str | None
    param: str | None
    message: str
    own_code: str
    retryable: bool

    @property
    def title(self) -> str:
        """The title of its problem."""
        return self.own_code.replace("_", " ")

    @property
    def own(self) -> ReportedError:
        """What error objects have beside the upstream's names."""
        return {"code": self.own_code, "retryable": self.retryable}


def failure_of(error: Mapping[str, Any]) -> Failure:
    """The failure in a job's ``error``."""
    own_code, message = error["code"], error["message"]
    upstream: Mapping[str, Any] = error.get("upstream") or {}
    status = _status(own_code, upstream.get("status"))
    code = _code(own_code, message, status, upstream)
    return Failure(
        status=status,
        code=code,
        kind=upstream.get("type"),
        param=upstream.get("param"),
        message=message,
        own_code=own_code,
        retryable=bool(error.get("retryable")),
    )


def _status(own_code: str, upstream: int | None) -> int:
    if upstream is None:
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
    if isinstance(named, str) and _NAME.fullmatch(named):
        return named
    if upstream and status == 429:
        return "rate_limit_exceeded"
    return own_code


def problem_of_failure(failure: Failure, headers: Mapping[str, str]) -> Problem:
    """The failure as a problem document with the upstream's ``code``, and ``param`` if the upstream names one."""
    more = {"code": failure.code, **({"param": failure.param} if failure.param else {})}
    return Problem(failure.status, failure.title, failure.message, headers=headers, **more)


def early_failure(services: State, job: Job) -> Failure | None:
    """Hold the status line of a stream until the job has output, for a few seconds at most; the failure if it fails
    meanwhile. A client that has got a 200 takes an error for a crash, and may submit again."""
    end = early_end(services, job, min(services.settings.heartbeat_s, _HOLD_S))
    return failure_of(end.get("error") or CANCELLED) if end is not None else None
