"""A failed job as an OpenAI error. https://platform.openai.com/docs/guides/error-codes"""

from __future__ import annotations

from collections.abc import Mapping

from spool.jobs.job import Job
from web.delivery.failures import Failure, early_failure
from web.openai.errors import ErrorDocument, OpenAIProblem, error_body
from web.problems import Problem
from web.services import State


def document_of(failure: Failure) -> ErrorDocument:
    """The error object. ``spool``: Spool's own code, and whether another submit may succeed."""
    body = error_body(failure.message, _type(failure), failure.code, failure.param)
    body["error"]["spool"] = failure.own
    return body


def problem_of_failure(failure: Failure, headers: Mapping[str, str]) -> Problem:
    """The HTTP error, which the SDKs do not retry, because Spool already has."""
    return OpenAIProblem(failure.status, failure.title, document_of(failure), {**headers, "x-should-retry": "false"})


def refuse_early_failure(services: State, job: Job, headers: Mapping[str, str]) -> None:
    """Hold the status line of a stream until the job has output. Raises the ``Problem`` of a job that fails
    meanwhile."""
    failure = early_failure(services, job)
    if failure is not None:
        raise problem_of_failure(failure, headers)


def _type(failure: Failure) -> str:
    if failure.code == "insufficient_quota":
        return "insufficient_quota"
    if failure.status == 429:
        return "rate_limit_error"
    return failure.kind or "server_error" if failure.status >= 500 else "invalid_request_error"
