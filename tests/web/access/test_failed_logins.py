"""The limit of failed logins."""

from __future__ import annotations

import pytest

from spool.access.failure_counts import FailureCounts
from spool.errors import StoreUnavailable
from spool.keys import HOME, prefix
from spool.redis.link import RedisLink
from web.access.failed_logins import FAILURES_AT_MOST, WINDOW_S, FailedLogins


class Counts(FailureCounts):
    """A stand-in for Redis with fixed answers."""

    def __init__(self, answer: tuple[int, float] | None = None) -> None:
        self.answer = answer
        self.calls = 0

    def note(self, address: str) -> tuple[int, float]:
        """The answer; None: Redis is away."""
        self.calls += 1
        if self.answer is None:
            raise StoreUnavailable(f"away while {address} failed")
        return self.answer


@pytest.mark.parametrize("answer", [None, (1, 60.0)], ids=["Redis is away", "no other process counts"])
def test_address_is_blocked_after_many_failures_and_free_again(answer: tuple[int, float] | None) -> None:
    """Another address is not affected; a new minute begins from zero. This holds while Redis is away, too."""
    now = [0.0]
    logins = FailedLogins(Counts(answer), lambda: now[0])
    for _ in range(FAILURES_AT_MOST):
        assert not logins.blocked_s("a")
        logins.note("a")
    assert logins.blocked_s("a") == WINDOW_S
    assert not logins.blocked_s("b")
    now[0] = WINDOW_S
    assert not logins.blocked_s("a")
    logins.note("a")
    assert not logins.blocked_s("a")


def test_processes_count_together(link: RedisLink) -> None:
    """An address gets its limit once over all processes, and one more for each further process."""
    first, *others = [FailedLogins(FailureCounts(link)) for _ in range(4)]
    for _ in range(FAILURES_AT_MOST):
        first.note("a")
    for other in others:
        assert not other.blocked_s("a")
        other.note("a")
        assert 0 < other.blocked_s("a") <= WINDOW_S
        assert not other.blocked_s("b")
    link.call("DEL", f"{prefix(HOME)}failed-logins")
    first.note("b")
    assert not first.blocked_s("b")


def test_full_count_is_not_asked_again_within_its_minute() -> None:
    """While Redis counts as many addresses as it may, failures cost no call."""
    now, counts = [0.0], Counts((0, 20.0))
    logins = FailedLogins(counts, lambda: now[0])
    for at in (0.0, 19.0, 20.0):
        now[0] = at
        logins.note("a")
    assert counts.calls == 2


def test_many_addresses_take_bounded_memory() -> None:
    """The oldest are forgotten first; an unknown address is not counted."""
    logins = FailedLogins(Counts(None), lambda: 0.0)
    for number in range(10_050):
        logins.note(str(number))
    for _ in range(99):
        logins.note("")
    assert len(logins._counts) == 10_000
    assert "0" not in logins._counts
    assert not logins.blocked_s("")
