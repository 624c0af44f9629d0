"""The choice of a transport."""

from __future__ import annotations

import pytest

from spool_client.ladder import Ladder, Memory
from spool_client.timing import Timing
from tests.clock import Clock

NAMES = ("sse", "long", "short")


def test_down_after_two_strikes() -> None:
    """One failure may be chance, two in a row are the transport."""
    ladder = Ladder(NAMES, Timing())
    assert not ladder.strike()
    ladder.works()
    assert not ladder.strike()
    assert ladder.name == "sse"
    assert ladder.strike()
    assert ladder.name == "long"


def test_after_the_last_one_the_first() -> None:
    """If all have failed, the network may have been the reason; a pause is due."""
    ladder = Ladder(NAMES, Timing())
    assert [ladder.strike(is_sure=True) for _ in NAMES] == [True, True, False]
    assert ladder.name == "sse"


def test_climbs_after_a_while_and_returns_when_that_fails() -> None:
    """A better transport is tried after a minute, and after each failed try half as often."""
    clock = Clock()
    ladder = Ladder(NAMES, Timing(), clock=clock)
    ladder.strike(is_sure=True)
    assert ladder.next() == "long"
    clock.now += 60
    assert ladder.should_climb
    assert ladder.next() == "sse"
    ladder.strike()
    assert ladder.next() == "long"
    clock.now += 119
    assert ladder.next() == "long"
    clock.now += 1
    assert ladder.next() == "sse"
    ladder.works()
    assert not ladder.should_climb


def test_next_reader_begins_with_what_worked() -> None:
    """The readers of one client share what one of them found."""
    memory = Memory()
    first = Ladder(NAMES, Timing(), memory)
    first.strike(is_sure=True)
    first.works()
    assert Ladder(NAMES, Timing(), memory).name == "long"
    assert Ladder(("sse", "short"), Timing(), memory).name == "sse"


@pytest.mark.parametrize("names", [(), ("sse", "pigeon")])
def test_unknown_transport_is_named(names: tuple[str, ...]) -> None:
    """A misspelt transport is an error, not an endless try."""
    with pytest.raises(ValueError, match=r"pigeon|none given"):
        Ladder(names, Timing())
