"""Scheduling in a record: every field comes back, and a missing one is no condition."""

from __future__ import annotations

import pytest

from spool.jobs.scheduling import FIELDS, UNSCHEDULED, Conversation, OnBusy, Scheduling


@pytest.mark.parametrize(
    "scheduling",
    [
        UNSCHEDULED,
        Scheduling(fairness_key="tenant", fairness_weight=0.5),
        Scheduling(start_within_s=2.5, not_before=1_795_253_400.123),
        Scheduling(conversation=Conversation("chat 1", OnBusy.REJECT)),
        Scheduling(conversation=Conversation("chat 1", continue_at_most=1000)),
    ],
    ids=["none", "flow", "times", "conversation", "continues"],
)
def test_decode_inverts_encode(scheduling: Scheduling) -> None:
    """A scheduling is the same after it was in a record, whose fields are the declared ones."""
    record = {name: str(value) for name, value in scheduling.encode().items()}
    assert record.keys() <= set(FIELDS)
    assert Scheduling.decode(record) == scheduling


@pytest.mark.parametrize(
    "record",
    [{"fairness_weight": "much"}, {"not_before_ms": "9" * 15}, {"conversation": "c", "on_busy": "wait"}],
    ids=["number", "time", "word"],
)
def test_decode_refuses_what_it_does_not_know(record: dict[str, str]) -> None:
    """A value of another kind is an error, not a guess."""
    with pytest.raises(ValueError, match=r".+"):
        Scheduling.decode(record)
