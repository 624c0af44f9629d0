"""A failed job as an OpenAI error: status, code, type and parameter, by what the upstream said."""

from __future__ import annotations

from typing import Any

import pytest

from web.delivery.failures import CANCELLED, failure_of
from web.openai.failures import document_of

OVERFLOW = "the upstream rejected the request: HTTP 400: This model's maximum context length is 4096 tokens"


def rejected(message: str = "no", **upstream: Any) -> dict[str, Any]:
    """The error of a job that the upstream rejected."""
    return {"code": "upstream_rejected", "message": message, "retryable": False, "upstream": upstream}


@pytest.mark.parametrize(
    ("error", "status", "code", "kind"),
    [
        (rejected(status=400, code="context_length_exceeded"), 400, "context_length_exceeded", "invalid_request_error"),
        (
            rejected(OVERFLOW, status=400, type="BadRequestError"),
            400,
            "context_length_exceeded",
            "invalid_request_error",
        ),
        (rejected(status=400, code="ResponsibleAIPolicyViolation"), 400, "content_filter", "invalid_request_error"),
        (rejected(status=429, code="insufficient_quota"), 429, "insufficient_quota", "insufficient_quota"),
        (rejected(status=429), 429, "rate_limit_exceeded", "rate_limit_error"),
        (rejected(status=404, code="model_not_found"), 404, "model_not_found", "invalid_request_error"),
        (rejected(status=422), 422, "upstream_rejected", "invalid_request_error"),
        (rejected(status=401, code="invalid_api_key"), 403, "invalid_api_key", "invalid_request_error"),
        (rejected(status=501), 501, "upstream_rejected", "server_error"),
        (rejected(), 400, "upstream_rejected", "invalid_request_error"),
    ],
    ids=["context", "context in words", "filter", "quota", "rate", "model", "other", "key", "server", "older record"],
)
def test_rejected(error: dict[str, Any], status: int, code: str, kind: str) -> None:
    """A rejected request has the upstream's status and the code that clients act on."""
    failure = failure_of(error)
    assert (failure.status, failure.code, document_of(failure)["error"]["type"]) == (status, code, kind)


@pytest.mark.parametrize(
    ("code", "status"),
    [("deadline_exceeded", 504), ("first_token_timeout", 504), ("attempts_exhausted", 502), ("internal", 502)],
)
def test_failure_of_spools_own(code: str, status: int) -> None:
    """A failure that no upstream named is a server's error with Spool's code."""
    failure = failure_of({"code": code, "message": "context length", "retryable": True})
    assert (failure.status, failure.code, document_of(failure)["error"]["type"]) == (status, code, "server_error")


def test_cancelled() -> None:
    """A cancelled job is a conflict, which nothing retries."""
    assert (failure_of(CANCELLED).status, failure_of(CANCELLED).code) == (409, "cancelled")


def test_document_has_both_codes() -> None:
    """The parameter is the upstream's; Spool's own code stands beside."""
    document = document_of(failure_of(rejected("bad", status=400, code="bad_value", param="messages[0]")))
    assert document["error"] == {
        "message": "bad",
        "type": "invalid_request_error",
        "param": "messages[0]",
        "code": "bad_value",
        "spool": {"code": "upstream_rejected", "retryable": False},
    }
