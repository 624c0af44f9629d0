"""The entries of one long poll's answer."""

from __future__ import annotations

from spool.jobs.log import Gap
from web.delivery.found_entries import Found

ROWS = [(number, b'{"id":%d}' % number) for number in range(1, 8)]


def waiting(limit: int) -> Found:
    """An answer for which nothing was there at first."""
    found = Found(limit)
    assert not found.add([], None, False)
    return found


def test_full_answer_does_not_end() -> None:
    """Entries beyond the limit are left to the next request, so the log's end is not this answer's."""
    found = waiting(limit=5)
    assert found.add(ROWS, None, False)
    assert not found.may_grow
    assert found.rows == ROWS[:5]
    assert not found.ended


def test_full_answer_with_the_end_beyond_it() -> None:
    """The end that comes with entries beyond the limit is left to the next request too."""
    found = waiting(limit=5)
    assert found.add(ROWS, None, True)
    assert not found.ended
    assert not found.may_grow


def test_answer_that_fills_up_while_it_lingers() -> None:
    """An answer grows up to its limit, and stops there without the end."""
    found = waiting(limit=5)
    assert found.add(ROWS[:3], None, False)
    assert found.may_grow
    assert found.add_more(ROWS[3:], None, True)
    assert found.rows == ROWS[:5]
    assert not found.ended


def test_answer_that_ends_while_it_lingers() -> None:
    """The end within the limit is the answer's end."""
    found = waiting(limit=7)
    found.add(ROWS[:3], None, False)
    assert found.add_more(ROWS[3:], None, True)
    assert found.ended


def test_gap_while_it_lingers() -> None:
    """A gap ends the answer before it."""
    found = waiting(limit=7)
    found.add(ROWS[:3], None, False)
    assert found.add_more(ROWS[5:], Gap(4, 6, 7, 5), False)
    assert found.rows == ROWS[:3]


def test_entries_that_are_there_at_once() -> None:
    """Without a wait the answer does not linger."""
    found = Found(7)
    assert found.add(ROWS[:3], None, False)
    assert not found.may_grow
