"""The form of a key, and its record."""

from __future__ import annotations

import pytest

from spool.access.caller import Kind
from spool.access.keys import Key, new_key, parse_shown
from spool.access.limits import KeyLimits
from spool.access.static_keys import digest_of
from spool.errors import UndecodableRecord


def reply_of(key: Key, **changes: object) -> list[bytes]:
    """The record as HGETALL answers it."""
    record = {**key.encode(), **changes}
    return [part if isinstance(part, bytes) else str(part).encode() for pair in record.items() for part in pair]


def test_new_key_is_parsed_into_its_id_and_its_secret() -> None:
    """The secret may contain the sign that divides them."""
    key_id, shown = new_key()
    parts = parse_shown(shown.encode())
    assert parts is not None
    assert parts.id == key_id
    assert shown == f"sk-spool-{key_id}_{parts.secret.decode()}"


@pytest.mark.parametrize("shown", ["", "sk-spool-", "sk-spool-abcdefghijkl_short", "sk-other-abcdefghijkl_" + "a" * 43])
def test_other_forms_are_no_keys(shown: str) -> None:
    """A static key of any form is not looked up in Redis."""
    assert parse_shown(shown.encode()) is None


def test_record_is_decoded_as_it_is_encoded() -> None:
    """Every field survives; the caller has what the key allows."""
    key = Key(
        id="abcdefghijkl",
        owner="alice",
        digest=digest_of(b"secret"),
        name="laptop",
        scopes=frozenset({"jobs:read"}),
        models=frozenset({"demo"}),
        limits=KeyLimits(streams=2),
        metadata={"team": "a"},
        created_ms=5,
        expires_ms=9,
    )
    assert Key.decode(reply_of(key)) == key
    caller = key.caller()
    assert (caller.owner, caller.kind, caller.credential) == ("alice", Kind.KEY, "abcdefghijkl")
    assert caller.limits.streams == 2
    assert key.has_secret(b"secret")
    assert not key.has_secret(b"secre")
    assert digest_of(b"secret").hex() not in repr(key)


def test_key_is_valid_until_it_expires_or_is_revoked() -> None:
    """The time of its end is no longer valid."""
    key = Key(id="abcdefghijkl", owner="alice", digest=b"", expires_ms=10)
    assert key.is_valid(9)
    assert not key.is_valid(10)
    assert not Key(id="abcdefghijkl", owner="alice", digest=b"", revoked_ms=1).is_valid(0)


def test_scope_of_a_later_version_means_nothing() -> None:
    """An unknown scope gives no rights and is no error."""
    key = Key(id="abcdefghijkl", owner="alice", digest=b"")
    assert Key.decode(reply_of(key, scopes="jobs:read everything")).scopes == {"jobs:read"}


@pytest.mark.parametrize("field", ["owner", "digest", "limits", "created_ms"])
def test_damaged_record_is_an_error(field: str) -> None:
    """A record that cannot be read is never a valid key."""
    key = Key(id="abcdefghijkl", owner="alice", digest=b"")
    with pytest.raises(UndecodableRecord):
        Key.decode(reply_of(key, **{field: "a:b"}))
