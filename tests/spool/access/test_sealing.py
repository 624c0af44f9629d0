"""Sealed texts: only Spool makes them, each for one owner."""

from __future__ import annotations

import pytest

from spool.access.sealing import Sealing
from spool.redis.link import RedisLink

TEXT = "Hm. Ein Gedanke: ∞"


@pytest.fixture
def sealing(link: RedisLink) -> Sealing:
    """The seals of an installation."""
    return Sealing(link).load()


def test_any_process_opens_it(sealing: Sealing, link: RedisLink) -> None:
    """What one process seals, another one opens for the same owner."""
    assert Sealing(link).load().open("alice", sealing.seal("alice", TEXT)) == TEXT


def test_full_redis(sealing: Sealing, link: RedisLink) -> None:
    """A process that begins while Redis takes no writes reads the key that there is."""
    link.call("CONFIG", "SET", "maxmemory", 1)
    try:
        assert Sealing(link).load().open("alice", sealing.seal("alice", TEXT)) == TEXT
    finally:
        link.call("CONFIG", "SET", "maxmemory", 0)


def test_other_owner(sealing: Sealing) -> None:
    """Another owner cannot use it."""
    assert sealing.open("bob", sealing.seal("alice", TEXT)) is None


@pytest.mark.parametrize(
    "sealed", ["", "gAAAA", "spool1.", "spool1.!!", "spool1.AAAA", "spool1." + "A" * 60, "spool1.é"]
)
def test_not_sealed_here(sealing: Sealing, sealed: str) -> None:
    """Anything else is not opened."""
    assert sealing.open("alice", sealed) is None


def test_changed(sealing: Sealing) -> None:
    """A changed text is not opened."""
    sealed = sealing.seal("alice", TEXT)
    assert sealing.open("alice", sealed[:-6] + "AAAAA" + sealed[-1]) is None
