"""A failed job as clients see it: status and code, by what the upstream said."""

from __future__ import annotations

from typing import Any

import pytest

from web.delivery.failures import CANCELLED, failure_of

OVERFLOW = "the upstream rejected the request: HTTP 400: This model's maximum context length is 4096 tokens"


def rejected(message: str = "no", **upstream: Any) -> dict[str, Any]:
    """The error of a job that the upstream rejected."""
    return {"code": "upstream_rejected", "message": message, "retryable": False, "upstream": upstream}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (rejected(status=400, code="context_length_exceeded"), 400, "context_length_exceeded"),
        (rejected(OVERFLOW, status=400, type="BadRequestError"), 400, "context_length_exceeded"),
        (rejected(status=400, code="ResponsibleAIPolicyViolation"), 400, "content_filter"),
        (rejected(status=429, code="insufficient_quota"), 429, "insufficient_quota"),
        (rejected(status=429), 429, "rate_limit_exceeded"),
        (rejected(status=404, code="model_not_found"), 404, "model_not_found"),
        (rejected(status=422), 422, "upstream_rejected"),
        (rejected(status=401, code="invalid_api_key"), 403, "invalid_api_key"),
        (rejected(status=501), 501, "upstream_rejected"),
        (rejected(), 400, "upstream_rejected"),
    ],
    ids=["context", "context in words", "filter", "quota", "rate", "model", "other", "key", "server", "older record"],
)
def test_rejected(error: dict[str, Any], status: int, code: str) -> None:
    """A rejected request has the upstream's status and the code that clients act on."""
    failure = failure_of(error)
    assert (failure.status, failure.code) == (status, code)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("unsupported_output", 400),
        ("deadline_exceeded", 504),
        ("first_token_timeout", 504),
        ("attempts_exhausted", 502),
        ("internal", 502),
    ],
)
def test_failure_of_spools_own(code: str, status: int) -> None:
    """A failure that no upstream named is a server's error with Spool's code."""
    failure = failure_of({"code": code, "message": "context length", "retryable": True})
    assert (failure.status, failure.code, failure.own_code) == (status, code, code)


def test_interrupted() -> None:
    """An answer that the upstream broke off with an error has that error's status and code, if it names them."""
    broken = {"code": "upstream_interrupted", "message": "broken off", "retryable": False}
    named = failure_of({**broken, "upstream": {"status": 429, "code": "insufficient_quota"}})
    assert (named.status, named.code, named.own_code) == (429, "insufficient_quota", "upstream_interrupted")
    assert (failure_of(broken).status, failure_of(broken).code) == (502, "upstream_interrupted")


@pytest.mark.parametrize(
    ("own_code", "upstream", "status", "code"),
    [
        ("upstream_interrupted", {"status": 503, "code": "overloaded", "type": "server_error"}, 503, "overloaded"),
        ("attempts_exhausted", {"status": 503, "code": "overloaded"}, 503, "overloaded"),
        ("attempts_exhausted", {"status": 529}, 529, "attempts_exhausted"),
        ("upstream_failed", {"status": 500, "type": "server_error"}, 500, "upstream_failed"),
        ("upstream_unavailable", {"status": 429}, 429, "rate_limit_exceeded"),
        ("upstream_error", {"code": "odd_error"}, 502, "odd_error"),
        ("upstream_misconfigured", {"status": 302}, 502, "upstream_misconfigured"),
    ],
)
def test_passing_error_that_ended_the_job(own_code: str, upstream: dict[str, Any], status: int, code: str) -> None:
    """An upstream's error after which there was no other attempt has the upstream's status and names, too."""
    failure = failure_of({"code": own_code, "message": "busy", "retryable": True, "upstream": upstream})
    assert (failure.status, failure.code, failure.kind) == (status, code, upstream.get("type"))
    assert failure.own == {"code": own_code, "retryable": True}


def test_cancelled() -> None:
    """A cancelled job is a conflict, which nothing retries."""
    assert (failure_of(CANCELLED).status, failure_of(CANCELLED).code) == (409, "cancelled")
