"""Signatures of grants."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spool.access.caller import BY_DEFAULT, Caller, Kind
from spool.access.grants import Grant
from web.access.signer import Signer

NEW, OLD, OTHER = "n" * 32, "o" * 32, "x" * 32
GRANT = Grant(kind=Kind.LINK, owner="alice", expires_at=100, parent=Kind.KEY, credential="abc", job="j0-1")


def signer(*keys: str, now: float = 0.0) -> Signer:
    """A signer with these keys at this time."""
    return Signer(lambda: keys, clock=lambda: now)


@pytest.mark.parametrize("kind", [Kind.LINK, Kind.TOKEN, Kind.SESSION])
def test_signed_grant_is_read(kind: Kind) -> None:
    """In another process, and after a rotation; its text is safe in URLs, headers and as a subprotocol."""
    grant = replace(GRANT, kind=kind)
    text = signer(OLD).sign(grant)
    read = signer(OLD).read(kind, text)
    assert read is not None
    assert replace(read, signed_by="") == grant
    assert signer(NEW, OLD).read(kind, text) == read
    assert all(letter.isalnum() or letter in "-_." for letter in text)


def test_expired_forged_or_foreign_text_is_not_read() -> None:
    """A changed letter, another key, another kind, the time of its end: none is a grant."""
    text = signer(NEW).sign(GRANT)
    assert signer(NEW, now=99.9).read(Kind.LINK, text)
    assert signer(NEW, now=100.0).read(Kind.LINK, text) is None
    assert signer(OTHER).read(Kind.LINK, text) is None
    assert signer(NEW).read(Kind.SESSION, text) is None
    assert signer(NEW).read(Kind.TOKEN, text) is None
    assert signer(NEW).read(Kind.TOKEN, f"spool-bt-{text}") is None
    for place in range(len(text)):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        # The last letter of base64 may have bits without meaning.
        assert signer(NEW).read(Kind.LINK, changed) is None or place == len(text) - 1
    for other in ("", ".", "..", text + ".", text * 99, "é"):
        assert signer(NEW).read(Kind.LINK, other) is None


def test_grant_is_bound_to_a_static_key() -> None:
    """A new secret of the same owner does not inherit it; a rotation of the signing key keeps it."""
    alice = Caller(owner="alice", scopes=BY_DEFAULT, kind=Kind.STATIC, fingerprint=b"1" * 32)
    grant = replace(GRANT, binding=signer(OLD).binding(alice))
    assert signer(NEW, OLD).is_bound(grant, alice)
    assert not signer(NEW).is_bound(grant, alice)
    assert not signer(OLD).is_bound(grant, replace(alice, fingerprint=b"2" * 32))
    assert signer(OLD).binding(replace(alice, fingerprint=b"")) == ""


def test_signing_keys_are_loaded_once() -> None:
    """And again after they were forgotten."""
    loads = iter([[OLD], [NEW]])
    one = Signer(lambda: next(loads), clock=lambda: 0.0)
    text = one.sign(GRANT)
    assert one.read(Kind.LINK, text)
    one.forget()
    assert one.read(Kind.LINK, text) is None


def test_grant_names_the_key_that_signed_it() -> None:
    """So that what is open under it can end with that key, which its id does not show."""
    read = signer(NEW, OLD).read(Kind.LINK, signer(OLD).sign(GRANT))
    assert read is not None
    assert signer(NEW, OLD).has(read.signed_by)
    assert not signer(NEW).has(read.signed_by)
    assert read.signed_by not in OLD
