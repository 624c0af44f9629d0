"""Errors carry what the caller needs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from spool_client.errors import error_of, retry_after_s


def test_error_carries_the_problem_document() -> None:
    """Status, type, title, detail and request are attributes."""
    problem = {"type": "urn:x", "title": "Queue full", "detail": "100000 jobs are queued"}
    headers = {"content-type": "application/problem+json", "retry-after": "3"}
    error = error_of(503, headers, json.dumps(problem).encode(), "POST /jobs")
    assert (error.status, error.type, error.title, error.detail) == (503, *problem.values())
    assert (error.request, error.retry_after_s, str(error)) == ("POST /jobs", 3.0, "100000 jobs are queued")
    assert error.is_temporary
    assert not error.is_refusal


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"title":'])
def test_error_of_an_answer_that_is_not_the_servers(body: bytes) -> None:
    """Without a problem document the error says the status, and nothing is refused for good."""
    error = error_of(404, {"content-type": "application/json"}, body, "GET /jobs/x")
    assert (str(error), error.problem, error.is_refusal) == ("the server answered 404", None, False)


@pytest.mark.parametrize(
    ("value", "seconds"), [("", 0), ("7", 7), ("Mon, 30 Nov 2026 08:00:10 GMT", 10), ("soon", 0), ("-1", 0)]
)
def test_retry_after_in_each_form(value: str, seconds: float) -> None:
    """Seconds or a date; anything else is no request to wait."""
    assert retry_after_s(value, datetime(2026, 11, 30, 8, tzinfo=UTC)) == seconds
