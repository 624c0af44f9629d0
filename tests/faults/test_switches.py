"""Every switch is turned on and taken back while hundreds read: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from spool.switches.store import SwitchStore
from spool.switches.switch import Switch, checked
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.faults.vitals import broke
from tests.stack import Stack, running_stack, wait_for

STREAMS, TOKENS, RATE = 200, 240, 4
RESUMING = [name for name in TRANSPORTS if name != "text"]


def switches_of(stack: Stack) -> list[Switch]:
    """One of each kind; the drained instances are a web, and the workers, which have one name here."""
    host, port = socket.gethostname(), stack.webs[0].url.rpartition(":")[2]
    return [
        checked("stop-submits", "all", reason="test"),
        checked("pause", "model:demo"),
        checked("transport-off", "sse"),
        checked("transport-off", "websocket"),
        checked("transport-off", "ndjson"),
        checked("transport-off", "long-polling"),
        checked("max-streams", "all", value=1),
        checked("notice", "all", reason="an upgrade begins"),
        checked("drain", f"{host}/web:{port}"),
        checked("drain", f"{host}/worker"),
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_switch_under_live_streams(directory: Path) -> None:
    """Each switch is known to all processes and taken back under 200 readers over every transport that resumes. Every
    reader gets every entry once, all jobs succeed at their first attempt, and submits are accepted again afterwards."""
    options = {"DRAIN_S": 3, "concurrency": STREAMS}
    with running_stack(directory, **options) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs, store = Jobs(stack), SwitchStore(stack.redis.link)
        ids = jobs.submit_many(STREAMS, tokens=TOKENS, rate=RATE)
        readers = [crowd.follow(job, RESUMING[n % len(RESUMING)]) for n, job in enumerate(ids)]
        jobs.wait_for_entries(ids, 4, 60)
        for switch in switches_of(stack):
            store.turn_on(switch, by="test")
            _wait_for_all(stack, f"switch on: {switch.name}")
            if switch.name == "stop-submits all":
                assert stack.client().post("/jobs", json={"prompt": "x"}).status_code == 503
            stopped = switch.name in ("pause model:demo", f"drain {socket.gethostname()}/worker")
            waiting = [_submit_and_wait(stack, jobs)] if stopped else []
            store.turn_off(switch)
            jobs.wait_for_end(waiting)
            _wait_for_all(stack, f"switch off: {switch.name}")
        assert "running" in jobs.fields(ids, "status"), "the jobs are shorter than the switches"
        ids.append(jobs.submit(tokens=5, rate=50))
        jobs.wait_for_end(within_s=120)
        assert crowd.unfinished(60) == []
        assert jobs.violations(crowd.followings) == []
        assert set(jobs.fields(ids, "status")) == {"succeeded"}
        assert set(jobs.fields(ids, "losses")) == {"0"}
        shown = [one for one in readers if "an upgrade begins" in one.notices]
        assert len(shown) > STREAMS / 2
        assert broke(*stack.webs) == []
        measured(
            "each switch under live streams",
            streams=STREAMS,
            switches=len(switches_of(stack)),
            reconnects=sum(one.reconnects for one in readers),
            shown_the_notice=len(shown),
            lost=0,
            doubled=0,
        )


def _submit_and_wait(stack: Stack, jobs: Jobs) -> str:
    """A job that no worker claims, although all have free slots."""
    job, client = jobs.submit(tokens=5, rate=50), stack.client()
    wait_for(lambda: client.get(f"/jobs/{job}").json()["waiting_for"], "it says why it waits")
    assert jobs.field(job, "status") == "queued"
    return job


def _wait_for_all(stack: Stack, line: str) -> None:
    processes = [*stack.webs, *stack.workers]
    wait_for(lambda: all(line in process.output.read_text() for process in processes), line)
