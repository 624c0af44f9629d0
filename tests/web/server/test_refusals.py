"""Responses to requests that never reached the application."""

from __future__ import annotations

import orjson
import pytest
from gunicorn.http import errors

import spool
from web.problems import Problem
from web.server.refusals import problem_of, refusal
from web.server.source import TooSlow


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TooSlow(), 408),
        (errors.LimitRequestLine(10, 5), 414),
        (errors.LimitRequestHeaders("too large"), 431),
        (errors.ExpectationFailed("200-ok"), 417),
        (errors.UnsupportedTransferCoding("gzip"), 501),
        (errors.ForbiddenProxyRequest("10.0.0.1"), 403),
        (errors.InvalidHTTPVersion("HTTP/9"), 400),
        (errors.ConfigurationProblem("wrong"), 500),
        (RuntimeError("secret"), 500),
        (Problem(429, "Too many requests", "wait"), 429),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_problem_of_each_error(error: Exception, status: int) -> None:
    """What the client did wrong is a 4xx; gunicorn's own mistakes and unexpected errors are a 500."""
    assert problem_of(error).status == status


def test_detail_is_bounded_and_hides_bugs() -> None:
    """A detail quotes at most 200 characters of the client, and nothing of an unexpected error."""
    assert len(problem_of(errors.InvalidRequestLine("x" * 5000)).detail) == 200
    assert "secret" not in problem_of(RuntimeError("secret")).detail


def test_response() -> None:
    """It is a whole response in the API's error shape, after which the connection closes."""
    head, _, body = refusal(TooSlow(), "POST", "/jobs", "r1").partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    assert status == "HTTP/1.1 408 Request Timeout"
    assert {"Content-Type: application/problem+json", f"Content-Length: {len(body)}", "Connection: close"} <= set(
        fields
    )
    assert {"X-Request-Id: r1", f"Spool-Version: {spool.__version__}"} <= set(fields)
    assert orjson.loads(body)["status"] == 408


def test_response_before_the_path_is_known() -> None:
    """A request of which nothing is known yet gets the same shape."""
    assert orjson.loads(refusal(TooSlow(), None, None, "r1").partition(b"\r\n\r\n")[2])["title"] == "Request timeout"


def test_response_to_head() -> None:
    """HEAD gets the head alone, with the length of the body that GET would get."""
    whole, head = refusal(TooSlow(), "GET", "/jobs", "r1"), refusal(TooSlow(), "HEAD", "/jobs", "r1")
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")
    assert len(head) < len(whole)
