"""The tally of a batch's results must see what is wrong."""

from __future__ import annotations

from bench.batch_readings import Tally, ids_of


def _tally(*indexes: int) -> Tally:
    tally = Tally(3)
    for number, index in enumerate(indexes, 1):
        tally.add({"id": number, "kind": "line", "batch_index": index, "status": "succeeded"})
    return tally


def test_each_line_once_is_whole() -> None:
    """A log with each line once, in any order, has no duplicates and misses nothing."""
    tally = _tally(2, 0, 1)
    tally.add({"id": 4, "kind": "done"})
    assert (tally.lines, tally.duplicates, tally.missing, tally.out_of_order, tally.end) == (3, 0, 0, 0, "done")


def test_duplicate_hides_no_missing_line() -> None:
    """A line that comes twice is a duplicate, and does not stand for the one that is missing."""
    tally = _tally(0, 1, 1)
    assert (tally.lines, tally.duplicates, tally.missing) == (3, 1, 1)


def test_gap_in_ids_is_counted() -> None:
    """An id that does not follow the one before is out of order."""
    tally = _tally(0)
    tally.add({"id": 3, "kind": "done"})
    assert tally.out_of_order == 1


def test_custom_ids_are_counted() -> None:
    """A result file gives how many of its lines have each ``custom_id``."""
    assert ids_of(['{"custom_id":"a"}', '{"custom_id":"b"}', '{"custom_id":"a"}']) == {"a": 2, "b": 1}
