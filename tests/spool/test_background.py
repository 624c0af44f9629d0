"""What runs beside the requests and jobs."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
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


_LEFT_BY_LARGE_BLOCKS = """
import sys
from pathlib import Path
from spool.background import return_large_blocks

if sys.argv[1] == "returned":
    return_large_blocks()

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def allocate():
    # A longer-lived object behind each block.
    return [(bytearray(1_100_000), bytearray(20_000)) for _ in range(50)]

allocate().clear()
before = resident_mb()
kept = [small for _large, small in allocate()]
print(resident_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_blocks_are_returned_to_the_system() -> None:
    """Freed blocks of a megabyte leave no holes between longer-lived objects, as they do by default."""
    grew_mb = {}
    for how in ("by default", "returned"):
        argv = [sys.executable, "-c", _LEFT_BY_LARGE_BLOCKS, how]
        grew_mb[how] = float(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert grew_mb["by default"] > 30
    assert grew_mb["returned"] < 10
