"""The contents of links, tokens and sessions."""

from __future__ import annotations

from typing import Any

import pytest

from spool.access.caller import Kind
from spool.access.grants import Grant

GRANT = Grant(
    kind=Kind.LINK, owner="alice", expires_at=5, parent=Kind.KEY, credential="abc", allows=("stream",), job="j0-1"
)


def test_grant_is_decoded_as_it_is_encoded() -> None:
    """Every field survives."""
    assert Grant.decode(GRANT.encode()) == GRANT


@pytest.mark.parametrize(
    "values", [None, [], {}, "grant", [*GRANT.encode(), 1], [*GRANT.encode()[:1], "a:b", *GRANT.encode()[2:]]]
)
def test_other_values_are_no_grant(values: Any) -> None:
    """Each is a ``ValueError``."""
    with pytest.raises(ValueError, match=r"grant|unpack|values"):
        Grant.decode(values)
