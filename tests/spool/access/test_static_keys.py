"""Which static keys are accepted. Refusals of the setting are tested with the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from spool.access.caller import BY_DEFAULT, Kind
from spool.access.static_keys import StaticKey, callers_by_digest, digest_of, parse_static_keys, read_static_keys


def test_static_keys_with_spaces_and_an_equals_sign_are_read() -> None:
    """Only the first ``=`` divides; space around pairs does not count."""
    keys = parse_static_keys(" alice=abc=defgh , team-b.x_1=12345678,")
    assert keys == (StaticKey("alice", "abc=defgh"), StaticKey("team-b.x_1", "12345678"))


def test_static_keys_with_scopes() -> None:
    """A key has all scopes but ``admin``, unless it names its own."""
    plain, reader, admin = parse_static_keys("a=11111111,b:jobs:read+models:read=22222222,c:*+admin=33333333")
    assert plain.scopes == BY_DEFAULT
    assert "admin" not in plain.scopes
    assert reader.scopes == {"jobs:read", "models:read"}
    assert admin.scopes == BY_DEFAULT | {"admin"}


@pytest.mark.parametrize("text", ["a:=secret-12", "a:jobs:raed=secret-12", "a=secret-12,b=secret-12", "a b=secret-12"])
def test_wrong_static_keys_are_refused(text: str) -> None:
    """A refusal names the pair and contains no secret."""
    with pytest.raises(ValueError, match=r"pair [12]") as caught:
        parse_static_keys(text)
    assert "secret-12" not in str(caught.value)


def test_static_keys_of_a_file(tmp_path: Path) -> None:
    """A file has one pair a line, and comments."""
    path = tmp_path / "keys"
    path.write_text("# team\nalice=11111111\n\n  # bob=00000000\nbob=22222222\n", encoding="utf-8")
    assert [key.owner for key in read_static_keys(path)] == ["alice", "bob"]


def test_static_key_has_an_id_that_does_not_depend_on_its_secret() -> None:
    """The ids of an owner's keys are numbered in their order."""
    callers = callers_by_digest(parse_static_keys("a=11111111,b=22222222,a=33333333"))
    assert [caller.credential for caller in callers.values()] == ["static-a", "static-b", "static-a-2"]
    assert callers[digest_of(b"22222222")].kind is Kind.STATIC
    assert "22222222" not in repr(callers[digest_of(b"22222222")])
