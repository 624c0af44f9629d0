"""Open streams end with their credential."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spool.access.caller import BY_DEFAULT, Caller, Kind
from spool.access.limits import KeyLimits
from spool.errors import OwnerStreamsFull
from web.access.tenures import Tenures

ALICE = Caller(owner="alice", scopes=BY_DEFAULT, kind=Kind.KEY, credential="a")
BOB = Caller(owner="bob", scopes=BY_DEFAULT, kind=Kind.KEY, credential="b", limits=KeyLimits(streams=1))


def tenures_without(*ended: Caller) -> Tenures:
    """Tenures of which these callers' credentials have ended."""
    return Tenures(lambda caller: caller not in ended, lambda caller: caller.kind is Kind.KEY)


def test_streams_of_an_ended_credential_end() -> None:
    """All of them, even if one cannot; nobody else's."""
    tenures, ended = tenures_without(ALICE), list[str]()

    def fail() -> None:
        raise RuntimeError("planted")

    tenures.hold(ALICE, fail)
    tenures.hold(ALICE, lambda: ended.append("alice"))
    tenures.hold(BOB, lambda: ended.append("bob"))
    tenures.look()
    assert ended == ["alice"]


def test_stream_that_ended_by_itself_is_forgotten() -> None:
    """Its end is not called, and nothing of it is kept."""
    tenures, ended = tenures_without(ALICE), list[str]()
    let_go = tenures.hold(ALICE, lambda: ended.append("alice"))
    let_go()
    let_go()
    tenures.look()
    assert ended == []
    assert not tenures._held
    assert not tenures._open


def test_limit_of_streams_of_one_key() -> None:
    """A stream beyond it is refused, until one has ended."""
    tenures = tenures_without()
    let_go = tenures.hold(BOB, lambda: None)
    with pytest.raises(OwnerStreamsFull, match="1 streams"):
        tenures.hold(BOB, lambda: None)
    let_go()
    tenures.hold(BOB, lambda: None)


@pytest.mark.parametrize("kind", [Kind.LINK, Kind.TOKEN, Kind.SESSION])
def test_limit_of_a_key_counts_what_stands_for_it(kind: Kind) -> None:
    """A link, a token or a session of the key gets no streams of its own."""
    tenures = tenures_without()
    part = replace(BOB, kind=kind, parent=Kind.KEY, expires_at=9e9)
    let_go = tenures.hold(part, lambda: None)
    for caller in (BOB, part, replace(part, expires_at=8e9)):
        with pytest.raises(OwnerStreamsFull, match="1 streams"):
            tenures.hold(caller, lambda: None)
    let_go()
    tenures.hold(BOB, lambda: None)
    tenures.hold(ALICE, lambda: None)
