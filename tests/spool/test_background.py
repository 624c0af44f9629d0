"""What runs beside the requests and jobs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from spool.background import collect_if


class Knot:
    """Something that only a search for cycles can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def searches_by_hand() -> Iterator[None]:
    """Nothing is searched but what the test asks for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def old_knot() -> weakref.ref[Knot]:
    """One that has grown old and is of no use any more."""
    knot = Knot()
    for _ in range(2):
        gc.collect(1)
    return weakref.ref(knot)


def test_everything_is_searched_when_it_is_quiet() -> None:
    """What has grown old is found where nothing is held up by it."""
    knot = old_knot()
    for _ in range(10):
        gc.collect(1)
    collect_if(lambda: False)
    assert knot() is not None
    collect_if(lambda: True)
    assert knot() is None


def test_nothing_is_searched_where_little_has_come() -> None:
    """A process that does nothing does not look through its memory for ever."""
    knot = old_knot()
    collect_if(lambda: True)
    assert knot() is not None
