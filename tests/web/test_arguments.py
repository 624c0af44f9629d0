"""Query arguments: strict numbers, defaults, and problems that name the argument."""

from __future__ import annotations

from typing import Annotated

import pytest
from flask import Flask
from pydantic import Field

from web.arguments import DIGITS, After, Query, query
from web.problems import Problem


class Page(Query):
    """A query with a number."""

    limit: Annotated[int, Field(ge=1, le=200), DIGITS] = Field(50)
    wait_s: Annotated[int, Field(ge=0), DIGITS] = Field(25, alias="wait")


def refused(arguments: str, shape: type[Query] = Page) -> tuple[int, str]:
    """The status, and the argument that the problem names."""
    with Flask("test").test_request_context(f"/?{arguments}"), pytest.raises(Problem) as info:
        query(shape)
    return info.value.status, info.value.extra["errors"][0]["field"]


def test_defaults_and_first_values() -> None:
    """What is left out has its default; of a repeated name the first value counts; unknown names are ignored."""
    with Flask("test").test_request_context("/?limit=7&limit=x&colour=blue&wait_s=3"):
        assert (query(Page).limit, query(Page).wait_s) == (7, 25)


@pytest.mark.parametrize("value", ["", "0", "201", "-1", "+5", "5.0", " 5", "1_0", "٣", "1e1", "1" * 10, "true"])
def test_number_that_is_none(value: str) -> None:
    """Only digits within the limits are a number."""
    with Flask("test").test_request_context("/", query_string={"limit": value}), pytest.raises(Problem) as info:
        query(Page)
    assert (info.value.status, info.value.extra["errors"][0]["field"]) == (422, "limit")


def test_argument_is_named_as_clients_send_it() -> None:
    """A problem has the argument's own name; that of a wrong cursor is 400, of anything else 422."""
    assert refused("wait=x") == (422, "wait")
    assert refused("after=x", After) == (400, "after")
    assert refused("after=" + "1" * 19, After) == (400, "after")


@pytest.mark.parametrize(("value", "cursor"), [("", 0), ("0", 0), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_cursor(value: str, cursor: int) -> None:
    """A cursor is a number of up to 18 digits; empty means 0."""
    with Flask("test").test_request_context("/", query_string={"after": value}):
        assert query(After).after == cursor
