"""What is measured of a process."""

from __future__ import annotations

from spool.process_health import PauseWatch


def test_full_collections_are_measured() -> None:
    """A full garbage collection is measured from its start to its end; those of younger objects are not."""
    times, found = iter([10.0, 10.25]), list[float]()
    watch = PauseWatch(found.append, lambda: next(times))
    for generation in (0, 1, 2):
        watch("start", {"generation": generation})
        watch("stop", {"generation": generation})
    assert found == [0.25]
