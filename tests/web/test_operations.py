"""What an operator and a load balancer are told: /readyz and /metrics, and the log of a web in trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import httpx
import pytest
from pydantic import SecretStr

import spool
from spool.build import commit
from spool.conditions import NAMES
from spool.jobs.job import SCHEMA
from spool.settings import WebSettings
from spool.switches.switch import Kind, Switch
from tests.by_hand import HandWorker
from tests.stack import Stack, running_stack, wait_for
from web.app import create_app


@pytest.fixture(scope="module")
def watched(short_dir: Path) -> Iterator[Stack]:
    """One web, whose Redis the tests set up differently. No worker, and no append-only file."""
    directory = short_dir / "watched"
    directory.mkdir()
    with running_stack(directory, webs=1, workers=0) as running:
        yield running


@pytest.fixture
def client(watched: Stack) -> httpx.Client:
    """Its client."""
    return watched.client()


def checks(client: httpx.Client) -> dict[str, Any]:
    """What is wrong, by name."""
    found = client.get("/readyz").json()["checks"]
    assert set(found) == set(NAMES)
    return {name: check["message"] for name, check in found.items() if not check["ok"]}


def lines(stack: Stack, name: str) -> list[str]:
    """The lines of the web's log about a condition."""
    return [line for line in stack.webs[0].output.read_text().splitlines() if name in line]


def gauge(client: httpx.Client, name: str) -> float:
    """The condition's metric."""
    found = [
        line for line in client.get("/metrics").text.splitlines() if line.startswith(f'spool_condition{{name="{name}"')
    ]
    return float(found[0].split()[-1])


def test_memory_over_the_watermark(watched: Stack, client: httpx.Client) -> None:
    """It is not ready while every submit would be refused, and names the reason."""
    before = len(lines(watched, "memory_over_watermark"))
    watched.redis.link.call("CONFIG", "SET", "maxmemory", 1)
    try:
        wait_for(lambda: client.get("/readyz").status_code == 503, "/readyz is red")
        assert "90%" in checks(client)["memory_over_watermark"]
        assert gauge(client, "memory_over_watermark") == 1
        assert client.post("/jobs", json={"prompt": "x"}).status_code == 503
    finally:
        watched.redis.link.call("CONFIG", "SET", "maxmemory", 0)
    wait_for(lambda: client.get("/readyz").status_code == 200, "/readyz is green")
    assert len(lines(watched, "memory_over_watermark")) == before + 2


@pytest.mark.parametrize("command", ["INFO", "XADD"])
def test_permission_that_is_missing(watched: Stack, client: httpx.Client, command: str) -> None:
    """The command is named in /readyz, in every refused submit and in one line of the log, not in a line each."""
    link = watched.redis.link
    before = len(watched.webs[0].output.read_text().splitlines())
    link.call("ACL", "SETUSER", "default", f"-{command}")
    try:
        wait_for(lambda: "permission_missing" in checks(client), "the web finds out")
        assert command in checks(client)["permission_missing"].upper()
        assert client.get("/livez").status_code == 200
        for _ in range(20):
            refused = client.post("/jobs", json={"prompt": "x"})
            assert (refused.status_code, refused.json()["title"]) == (503, "Store unfit")
            assert command in refused.json()["detail"].upper()
    finally:
        link.call("ACL", "SETUSER", "default", f"+{command}")
    wait_for(lambda: checks(client).keys().isdisjoint({"permission_missing", "redis_away"}), "it is over")
    assert client.post("/jobs", json={"prompt": "x"}).status_code == 202
    lines_since = watched.webs[0].output.read_text().splitlines()[before:]
    # Refused requests have a line each, up to a rate.
    said = [line for line in lines_since if "spool.event" not in line]
    assert len([line for line in said if "permission_missing" in line]) == 2
    assert len(said) < 12, said


def test_warnings_leave_it_ready(watched: Stack, client: httpx.Client) -> None:
    """Without a worker and without files it is ready, and says both; with a worker it says one."""
    # A web says so ten seconds after its start, most of which the tests above have taken.
    wait_for(lambda: "no_live_worker" in checks(client), "the web says that no worker is heard")
    assert client.get("/readyz").status_code == 200
    assert set(checks(client)) == {"no_live_worker", "persistence_off"}
    assert gauge(client, "no_live_worker") == gauge(client, "persistence_off") == 1
    assert gauge(client, "redis_away") == 0
    wait_for(
        lambda: HandWorker(watched.redis.link).beat(free=1) == [] and "no_live_worker" not in checks(client), "heard"
    )
    assert gauge(client, "no_live_worker") == 0
    assert len(lines(watched, "no_live_worker")) == 2


def test_version(client: httpx.Client) -> None:
    """It names the version, the commit and the schema of the records, as the metrics do, and the versions that run."""
    wait_for(lambda: client.get("/version").json()["running"], "the web has published itself")
    found = client.get("/version").json()
    running = {"program": "web", "version": spool.__version__, "commit": commit(), "schema": SCHEMA, "processes": 1}
    assert found == {
        "name": "spool",
        "version": spool.__version__,
        "commit": commit(),
        "schema": SCHEMA,
        "running": [running],
        "switches": [],
    }
    assert f'spool_build_info{{schema="{SCHEMA}",version="{spool.__version__}"}} 1.0' in client.get("/metrics").text


def test_redis_that_is_away(short_dir: Path) -> None:
    """It is not ready, and says once that it begins and once that it is over."""
    directory = short_dir / "away"
    directory.mkdir()
    with running_stack(directory, webs=1, workers=0, aof=True) as stack:
        client = stack.client()
        stack.redis.kill()
        wait_for(lambda: "redis_away" in checks(client), "the web finds out")
        assert client.get("/readyz").status_code == 503
        stack.redis.restart()
        wait_for(lambda: client.get("/readyz").status_code == 200, "it is over")
        wait_for(lambda: "redis_away" not in checks(client), "it says so")
        assert len(lines(stack, "redis_away has ended")) == 1


def test_drain_that_is_taken_back_ends_no_later_one() -> None:
    """The timer of the first drain would let the readers of the second one stay."""
    services = create_app(WebSettings(redis_url=SecretStr("unix:///nowhere.sock"))).extensions["spool"]
    drain = Switch(Kind.DRAIN, services.instance)
    ends = []
    for on in ({drain.name: drain}, {}, {drain.name: drain}):
        services.switches._on = on
        services.obey_switches()
        ends.append(services.drain_end)
    gevent.sleep(0)
    first, _, second = ends
    assert (first.dead, second.dead) == (True, False)
    second.kill(block=False)
