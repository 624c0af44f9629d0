"""One switch of each kind, turned on and taken back under load."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from spool.switches.store import SwitchStore
from spool.switches.switch import Switch, checked
from tests.faults.jobs import Jobs
from tests.stack import Process, Stack, wait_for

NOTICE = "an upgrade begins"


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
        checked("notice", "all", reason=NOTICE),
        checked("drain", f"{host}/web:{port}"),
        checked("drain", f"{host}/worker"),
    ]


def use_each_switch(stack: Stack, jobs: Jobs) -> int:
    """Turn on each switch, wait until all processes obey it, and take it back; the number of switches. A switch that
    stops claims makes a new job wait, which ends afterwards."""
    switches = switches_of(stack)
    for switch in switches:
        waiting = []
        with switched(stack, switch):
            if switch.name == "stop-submits all":
                assert stack.client().post("/jobs", json={"prompt": "x"}).status_code == 503
            if switch.name in ("pause model:demo", f"drain {socket.gethostname()}/worker"):
                waiting = [_submit_and_wait(stack, jobs)]
        jobs.wait_for_end(waiting)
    return len(switches)


@contextmanager
def switched(stack: Stack, switch: Switch) -> Iterator[None]:
    """With a switch on, which all processes that run obey; after the block none does."""
    store = SwitchStore(stack.redis.link)
    with _waiting_for(stack, f"switch on: {switch.name}"):
        store.turn_on(switch, by="test")
    try:
        yield
    finally:
        with _waiting_for(stack, f"switch off: {switch.name}"):
            store.turn_off(switch)


@contextmanager
def _waiting_for(stack: Stack, line: str) -> Iterator[None]:
    """Wait at the end until each process has written the line once more."""
    processes = [each for each in (*stack.webs, *stack.workers) if each.running]
    before = {each.name: _count(each, line) for each in processes}
    yield
    wait_for(lambda: all(_count(each, line) > before[each.name] for each in processes), line)


def _submit_and_wait(stack: Stack, jobs: Jobs) -> str:
    """A job that no worker claims, although all have free slots."""
    job, client = jobs.submit(tokens=5, rate=50), stack.client()
    wait_for(lambda: client.get(f"/jobs/{job}").json()["waiting_for"], "it says why it waits")
    assert jobs.field(job, "status") == "queued"
    return job


def _count(process: Process, line: str) -> int:
    return process.output.read_text(errors="replace").count(line)
