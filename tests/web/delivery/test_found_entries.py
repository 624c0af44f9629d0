"""The entries of an answer to a long poll: at most so many, and so many bytes."""

from __future__ import annotations

import pytest

from spool.jobs.log import Gap
from web.delivery.found_entries import BYTES_AT_MOST, Found


def rows(*sizes: int, first: int = 1) -> list[tuple[int, bytes]]:
    """Entries of these sizes."""
    return [(number, b"x" * size) for number, size in enumerate(sizes, first)]


@pytest.mark.parametrize(
    ("sizes", "limit", "count", "ended"),
    [
        ((1, 1, 1), 3, 3, True),
        ((1, 1, 1), 2, 2, False),
        ((BYTES_AT_MOST - 1, 1), 9, 2, True),
        ((BYTES_AT_MOST, 1), 9, 1, False),
        ((3 * BYTES_AT_MOST, 1), 9, 1, False),
        ((1, BYTES_AT_MOST), 9, 1, False),
    ],
    ids=["all", "limit", "just fits", "full", "one too large", "second too large"],
)
def test_first_entries(sizes: tuple[int, ...], limit: int, count: int, ended: bool) -> None:
    """The first entry is always taken. The end is only told with the last entry."""
    found = Found(limit)
    assert found.add(rows(*sizes), None, ended=True)
    assert (len(found.rows), found.ended) == (count, ended)


def test_entries_of_the_linger_time() -> None:
    """They fill the answer up to its bytes, and nothing follows after one that was left out."""
    found = Found(9)
    assert not found.add([], None, ended=False)
    assert found.add(rows(10), None, ended=False)
    assert found.may_grow
    assert not found.add_more(rows(10, first=2), None, ended=False)
    assert found.add_more(rows(BYTES_AT_MOST, 1, first=3), None, ended=True)
    assert ([number for number, _raw in found.rows], found.ended, found.may_grow) == ([1, 2], False, False)


def test_pages_of_a_catch_up() -> None:
    """Pages are added while there are more and there is room. A gap between them is left to the next answer."""
    found = Found(5)
    assert not found.add_all(rows(1, 1), None, ended=False)
    assert found.add_all(rows(1, 1, first=3), Gap(3, 4, 5, 3), ended=False)
    assert (found.following(0), found.gap, found.ended) == (2, None, False)
    assert not found.add_all(rows(1, 1, first=3), None, ended=False)
    assert found.add_all(rows(1, 1, first=5), None, ended=True)
    assert (found.following(0), found.ended) == (5, False)
    assert Found(5).add_all([], None, ended=False)
