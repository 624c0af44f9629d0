"""The limit of failed logins."""

from __future__ import annotations

from web.access.failed_logins import FAILURES_AT_MOST, WINDOW_S, FailedLogins


def test_address_is_blocked_after_many_failures_and_free_again() -> None:
    """Another address is not affected; a new minute begins from zero."""
    now = [0.0]
    logins = FailedLogins(lambda: now[0])
    for _ in range(FAILURES_AT_MOST):
        assert not logins.blocked_s("a")
        logins.note("a")
    assert logins.blocked_s("a") == WINDOW_S
    assert not logins.blocked_s("b")
    now[0] = WINDOW_S
    assert not logins.blocked_s("a")
    logins.note("a")
    assert not logins.blocked_s("a")


def test_many_addresses_take_bounded_memory() -> None:
    """The oldest are forgotten first; an unknown address is not counted."""
    logins = FailedLogins(lambda: 0.0)
    for number in range(10_050):
        logins.note(str(number))
    for _ in range(99):
        logins.note("")
    assert len(logins._counts) == 10_000
    assert "0" not in logins._counts
    assert not logins.blocked_s("")
