"""Slots of streams: their limits, in a process and of an owner, and that each is given back once."""

from __future__ import annotations

import resource

import pytest

from spool.errors import OwnerStreamsFull, TooManyStreams
from web.limits.streams import Slot, StreamSlots, connections_for, streams_for


def test_limit_of_the_process() -> None:
    """The limit is for all owners together; the one beyond it is told when to try again."""
    slots = StreamSlots(2)
    one = slots.one("a")
    slots.one("b")
    with pytest.raises(TooManyStreams) as refused:
        slots.one("c")
    assert (refused.value.retry_after_s, slots.taken) == (2.0, 2)
    one.give_back()
    slots.one("c")


def test_limit_of_an_owner() -> None:
    """An owner at its own limit is refused while others get slots."""
    slots = StreamSlots(10, owner_limit=1)
    with slots.one("a"):
        with pytest.raises(OwnerStreamsFull, match="you have 1 streams open"):
            slots.one("a")
        slots.one("b")
    slots.one("a")


def test_slot_is_given_back_once() -> None:
    """A slot that is given back again, or was never taken, frees nothing of others."""
    slots = StreamSlots(2)
    first, _second = slots.one("a"), slots.one("a")
    first.give_back()
    first.give_back()
    Slot(slots).give_back()
    assert slots.taken == 1


def test_slot_that_is_refused_is_not_counted() -> None:
    """A refused owner holds nothing."""
    slots = StreamSlots(1, owner_limit=0)
    with pytest.raises(OwnerStreamsFull):
        slots.one("a")
    assert slots.taken == 0


def test_moved_slot() -> None:
    """A slot that is moved out of its ``with`` is kept until its new holder gives it back."""
    slots = StreamSlots(1)
    with slots.one("a") as slot:
        held = slot.move()
    assert slots.taken == 1
    held.give_back()
    assert slots.taken == 0


def test_limits_stay_within_open_files() -> None:
    """Streams and other connections together need no more files than the process may open."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert (streams_for(5), connections_for(5)) == (5, 1005) or files < 2000
    if files != resource.RLIM_INFINITY:
        assert streams_for(10**9) + connections_for(10**9) <= files
