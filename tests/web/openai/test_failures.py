"""A failed job as an OpenAI error object."""

from __future__ import annotations

import pytest

from web.delivery.failures import failure_of
from web.openai.failures import document_of


def test_document_has_both_codes() -> None:
    """The parameter is the upstream's; Spool's own code stands beside."""
    upstream = {"status": 400, "code": "bad_value", "param": "messages[0]"}
    document = document_of(
        failure_of({"code": "upstream_rejected", "message": "bad", "retryable": False, "upstream": upstream})
    )
    assert document["error"] == {
        "message": "bad",
        "type": "invalid_request_error",
        "param": "messages[0]",
        "code": "bad_value",
        "spool": {"code": "upstream_rejected", "retryable": False},
    }


@pytest.mark.parametrize(
    ("upstream", "kind"),
    [
        ({"status": 422}, "invalid_request_error"),
        ({"status": 429}, "rate_limit_error"),
        ({"status": 429, "code": "insufficient_quota"}, "insufficient_quota"),
        ({"status": 501}, "server_error"),
        ({"status": 503, "type": "overloaded_error"}, "overloaded_error"),
    ],
    ids=["input", "rate", "quota", "server", "named"],
)
def test_type_follows_the_status(upstream: dict[str, object], kind: str) -> None:
    """Clients that read only the type see whether a retry may help."""
    error = {"code": "upstream_rejected", "message": "no", "retryable": False, "upstream": upstream}
    assert document_of(failure_of(error))["error"]["type"] == kind
