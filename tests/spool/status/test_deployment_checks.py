"""Checks of what runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spool.jobs.closed_models import ClosedModel
from spool.jobs.job import Priority
from spool.jobs.queue_figures import QueueFigures
from spool.settings import RunSettings
from spool.status.deployment import Deployment, Server
from spool.status.deployment_checks import check_clocks, check_deployment, check_exposure, check_versions
from spool.status.finding import Level
from spool.status.instances import Instance
from spool.switches.switch import checked

WEB = Instance("h/web:1", "web", 1, "0.1.0", None, 4, 0, files=65_536)
WORKER = replace(WEB, instance="h/worker", program="worker", models=("demo",))
GOOD = Deployment(
    instances=[WEB, WORKER],
    workers=1,
    slots=10,
    free_slots=9,
    queues=[QueueFigures("demo", 2, 1, {Priority.INTERACTIVE: ("j", 3.0)})],
    closed={},
    switches=[],
    server=Server("valkey 9", 1, 2, "noeviction", True, 3),
    conditions={},
    set_aside=0,
    owners=[("alice", 2, 1)],
)


def test_good_deployment() -> None:
    """Nothing is wrong with it, and it serves."""
    assert {one.level for one in check_deployment(GOOD)} == {Level.OK}
    assert GOOD.is_serving
    assert GOOD.document()["queues"] == [
        {"model": "demo", "waiting": 2, "running": 1, "oldest_s": {"interactive": 3.0}}
    ]


@pytest.mark.parametrize(
    ("found", "check", "level", "said"),
    [
        (replace(GOOD, workers=0), "workers", Level.ERROR, "2 jobs wait"),
        (replace(GOOD, instances=[WORKER]), "webs", Level.ERROR, "no web runs"),
        (replace(GOOD, instances=[replace(WEB, files=64), WORKER]), "webs", Level.WARNING, "64 files"),
        (replace(GOOD, instances=[WEB, replace(WORKER, models=())]), "models", Level.ERROR, "no worker serves"),
        (replace(GOOD, closed={"m": ClosedModel("m", 0, 1, "HTTP 429", 429)}), "upstream", Level.WARNING, "HTTP 429"),
        (replace(GOOD, switches=[checked("pause", "all")]), "switches", Level.WARNING, "pause all"),
        (replace(GOOD, set_aside=2), "damaged-records", Level.WARNING, "2 jobs"),
    ],
    ids=["workers", "webs", "files", "models", "upstream", "switches", "damaged"],
)
def test_what_is_wrong_is_named(found: Deployment, check: str, level: Level, said: str) -> None:
    """The finding has its level, the value, and what to do."""
    wrong = [one for one in check_deployment(found) if one.level is not Level.OK]
    assert [(one.check, one.level, said in one.message, bool(one.remedy)) for one in wrong] == [
        (check, level, True, True)
    ]


@pytest.mark.parametrize(
    ("other", "level"),
    [
        ({}, Level.OK),
        ({"version": "0.2.0", "schema": 5}, Level.WARNING),
        ({"version": "0.3.0", "schema": 6}, Level.ERROR),
    ],
    ids=["same", "one-apart", "two-apart"],
)
def test_versions_side_by_side(other: dict[str, object], level: Level) -> None:
    """Two versions next to each other are a warning, further ones an error."""
    assert check_versions([WEB, replace(WORKER, **other)]).level is level  # type: ignore[arg-type]


def test_clock_that_is_off() -> None:
    """The instance and the difference are named."""
    found = check_clocks([WEB, replace(WORKER, skew_ms=-61_000)])
    assert (found.level, "h/worker by -61 s" in found.message) == (Level.WARNING, True)


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, Level.OK),
        ({"host": "0.0.0.0", "allow_anonymous": True}, Level.WARNING),
        ({"api_keys": "a=12345678"}, Level.WARNING),
        ({"api_keys": "a=0123456789abcdef"}, Level.OK),
    ],
    ids=["loopback", "open", "short", "long"],
)
def test_keys(settings: dict[str, object], level: Level) -> None:
    """A Spool that answers everybody, and short secrets, are warnings; no secret is shown."""
    (found,) = check_exposure(RunSettings.model_validate(settings))
    assert (found.level, "12345678" in found.message) == (level, False)
