"""The workloads and what options make of them."""

from __future__ import annotations

import pytest

from bench.bursts import times
from bench.kinds import RUNS
from bench.profiles import FULL, PROFILES, SHORT, TABLE
from bench.shown import kinds
from bench.workloads import Kind, Workload


def test_every_kind_can_be_run_and_shown() -> None:
    """No kind of workload lacks its function or its form."""
    assert set(RUNS) == set(Kind)
    assert set(kinds()) == set(Kind) - {Kind.PACED, Kind.IDLE}


def test_names_are_unique_in_a_profile() -> None:
    """``--only`` names one workload."""
    for profile in PROFILES.values():
        assert len({workload.name for workload in profile}) == len(profile)


def test_the_table_has_every_workload_of_the_full_profile() -> None:
    """And asks the peers only where they are compared."""
    assert [workload.name for workload in TABLE] == [workload.name for workload in FULL]
    compared = {workload.name for workload in TABLE if not workload.spool_only}
    assert compared == {"100x50", "500x20", "1000x20", "1000x40", "fan-out", "idle"}


def test_changed_keeps_what_options_leave_open() -> None:
    """Runs and seconds are replaced where they are given, and where the workload allows it."""
    paced = SHORT[0]
    assert paced.changed(None, None) == paced
    assert (paced.changed(2, 3.0).runs, paced.changed(2, 3.0).seconds) == (2, 3.0)
    assert Workload("x", runs_at_most=1).changed(5, None).runs == 1
    assert Workload("x", Kind.RESUMES).changed(None, 3.0).seconds == 10.0


@pytest.mark.parametrize(("seconds", "expected"), [(4, [2]), (10, [5]), (34, [5]), (35, [5, 35]), (70, [5, 35, 65])])
def test_bursts_come_every_thirty_seconds(seconds: float, expected: list[float]) -> None:
    """The first five seconds into the load, or half way if it is short."""
    workload = Workload("x", Kind.BURSTS, jobs=50, rate=20, seconds=seconds)
    assert [round(at - workload.lead_s, 6) for at in times(workload)] == expected
