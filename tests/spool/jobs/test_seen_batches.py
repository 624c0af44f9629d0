"""What a process has read of batches' logs."""

from __future__ import annotations

from spool.jobs.seen_batches import SeenBatches


def test_newest_entry_counts() -> None:
    """The newest entry of each batch is kept, however often older ones are read; a batch without entries is not."""
    seen = SeenBatches()
    for log_id, entry in (("b0-a", 3), ("b0-b", 1), ("b0-a", 2), ("b0-c", 0)):
        seen.note(log_id, entry)
    assert seen.all() == {"b0-a": 3, "b0-b": 1}


def test_only_batches_count() -> None:
    """Logs of jobs and of events are not kept."""
    seen = SeenBatches()
    seen.note("j0-a", 1)
    seen.note("events:alice", 1)
    assert seen.all() == {}


def test_number_of_batches_is_bounded() -> None:
    """The batch that was not read for the longest time goes first."""
    seen = SeenBatches(2)
    for log_id in ("b0-a", "b0-b", "b0-a", "b0-c"):
        seen.note(log_id, 1)
    assert seen.all() == {"b0-a": 1, "b0-c": 1}
