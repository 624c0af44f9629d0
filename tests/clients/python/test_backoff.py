"""Pauses between reconnects."""

from __future__ import annotations

from spool_client.backoff import Backoff
from spool_client.timing import Timing


def test_pauses_double_up_to_a_bound() -> None:
    """250 ms, doubled to 2.5 s; after a minute of outage up to 15 s; never more than half of it is chance."""
    longest = Backoff(Timing(), source=lambda: 1.0)
    pauses = [longest.next_s() for _ in range(40)]
    assert pauses[:5] == [0.25, 0.5, 1.0, 2.0, 2.5]
    assert set(pauses[4:26]) == {2.5}
    assert pauses[-1] == 15.0
    assert Backoff(Timing(), source=lambda: 0.0).next_s() == 0.125


def test_pause_is_never_shorter_than_the_server_asked() -> None:
    """Retry-After is a lower bound, with jitter above it."""
    assert Backoff(Timing(), source=lambda: 0.0).next_s(7) == 7
    assert Backoff(Timing(), source=lambda: 1.0).next_s(8) == 10


def test_reset_begins_again() -> None:
    """A connection that has brought something is followed by a short pause."""
    backoff = Backoff(Timing(), source=lambda: 1.0)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 0.25
