"""Conditions: one line when one begins, one when it ends, and the state between."""

from __future__ import annotations

import pytest

from spool.conditions import NAMES, STOPS, Conditions
from tests.clock import Clock


def test_condition_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is found, there are two lines, and two changes for the metric."""
    changes: list[tuple[str, bool]] = []
    clock = Clock()
    conditions = Conditions(lambda name, lasts: changes.append((name, lasts)), clock)
    for _ in range(100):
        conditions.set("persistence_off", "set appendonly yes")
    clock.now += 8
    for _ in range(100):
        conditions.set("persistence_off", None)
    assert [one.getMessage() for one in caplog.records] == [
        "persistence_off: set appendonly yes",
        "persistence_off has ended after 8 s",
    ]
    assert changes == [("persistence_off", True), ("persistence_off", False)]


def test_words_that_change_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """New words are logged, those that come again are not, and there is an end to it; the last ones are shown."""
    conditions = Conditions()
    for number in range(1000):
        conditions.set("redis_away", f"refused {number}")
        conditions.set("redis_away", "timeout")
    assert len(caplog.records) <= 10
    assert [one.getMessage() for one in caplog.records[:2]] == ["redis_away: refused 0", "redis_away: timeout"]
    assert conditions.message("redis_away") == "timeout"


def test_checks_show_every_name() -> None:
    """What lasts has words, everything else is fine; the first one that stops jobs is known."""
    conditions = Conditions()
    conditions.set("no_live_worker", "start one")
    assert conditions.stopping is None
    conditions.set("redis_unfit", "too old")
    checks = conditions.as_checks()
    assert set(checks) == set(NAMES) >= STOPS
    assert checks["no_live_worker"] == {"ok": False, "message": "start one"}
    assert checks["redis_away"] == {"ok": True}
    assert conditions.stopping is not None
    assert conditions.stopping.name == "redis_unfit"
