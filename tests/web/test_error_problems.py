"""The rules by which Spool's errors become problems."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spool import errors
from spool.redis.errors import ScriptMissing
from web.error_problems import RULES, problem_of

_INTERNAL = {errors.SettingsError, errors.TooManyModels}
"""Errors that no request raises."""


def _classes(base: type[errors.SpoolError] = errors.SpoolError) -> Iterator[type[errors.SpoolError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _classes(kind)


def _request_errors() -> set[type[errors.SpoolError]]:
    return {kind for kind in _classes() if kind.__module__ == errors.__name__} - _INTERNAL


@pytest.mark.parametrize("kind", sorted(_request_errors(), key=lambda kind: kind.__name__))
def test_every_error_has_a_rule(kind: type[errors.SpoolError]) -> None:
    """Each class of errors that a request can raise has a rule, or its base has."""
    assert RULES.keys() & set(kind.__mro__)


def test_nearest_rule() -> None:
    """A class without a rule has its base's problem, and one with a rule its own."""
    assert problem_of(ScriptMissing("x")).title == "Store unavailable"
    assert (problem_of(errors.JobNotFound("j")).status, problem_of(errors.JobGone("j")).status) == (404, 410)


def test_problem_says_when_to_retry_and_what() -> None:
    """An error that says when to retry has a Retry-After of at least a second, and one of a job names it."""
    problem = problem_of(errors.RecordNewer("j0-1"))
    assert (problem.headers, problem.extra) == ({"Retry-After": "5"}, {"job": "j0-1"})
    assert problem_of(errors.BatchMoved("b0-1", 3)).extra == {"batch": "b0-1"}


def test_outcome_unknown() -> None:
    """A write without an answer names its job if that is known; else Redis was unavailable."""
    lost = errors.OutcomeUnknown("lost")
    assert problem_of(lost).title == "Store unavailable"
    lost.job_id = "j0-1"
    assert (problem_of(lost).title, problem_of(lost).extra) == ("Outcome unknown", {"job": "j0-1"})


def test_error_without_a_rule() -> None:
    """Any other error is internal, and its text is not shown."""
    problem = problem_of(errors.SettingsError("SPOOL_SECRET"))
    assert (problem.status, "SPOOL_SECRET" in problem.detail) == (500, False)
