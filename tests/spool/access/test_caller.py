"""Callers and scopes."""

from __future__ import annotations

import pytest

from spool.access.caller import BY_DEFAULT, SCOPES, is_owner, parse_scopes


@pytest.mark.parametrize("text", ["jobs:read+batches", "jobs:read, batches", " batches jobs:read "])
def test_scopes_are_divided_by_plus_commas_or_spaces(text: str) -> None:
    """All three forms give the same scopes."""
    assert parse_scopes(text) == {"jobs:read", "batches"}


def test_star_is_all_scopes_but_admin() -> None:
    """``*`` is the default, and ``admin`` must be named."""
    assert parse_scopes("*") == BY_DEFAULT
    assert parse_scopes("*+admin") == set(SCOPES)


@pytest.mark.parametrize(
    "text", ["", "+", "public", "jobs", "admin+root"], ids=["empty", "plus", "public", "part", "one"]
)
def test_unknown_scopes_are_refused(text: str) -> None:
    """The message names the scopes that there are."""
    with pytest.raises(ValueError, match="jobs:read, jobs:write"):
        parse_scopes(text)


@pytest.mark.parametrize(
    ("name", "is_one"), [("team-b.x_1", True), ("a" * 64, True), ("a" * 65, False), ("a:b", False)]
)
def test_names_of_owners(name: str, is_one: bool) -> None:
    """An owner's name is a part of Redis keys, so colons and spaces are none of it."""
    assert is_owner(name) is is_one
