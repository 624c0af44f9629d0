"""One switch of each kind, turned on and taken back under load."""

from __future__ import annotations

import socket

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
    store, processes = SwitchStore(stack.redis.link), [*stack.webs, *stack.workers]
    switches = switches_of(stack)
    for switch in switches:
        on, off = f"switch on: {switch.name}", f"switch off: {switch.name}"
        times = {process.name: (_count(process, on), _count(process, off)) for process in processes}
        store.turn_on(switch, by="test")
        wait_for(lambda: all(_count(each, on) > times[each.name][0] for each in processes), on)  # noqa: B023
        if switch.name == "stop-submits all":
            assert stack.client().post("/jobs", json={"prompt": "x"}).status_code == 503
        stopped = switch.name in ("pause model:demo", f"drain {socket.gethostname()}/worker")
        waiting = [_submit_and_wait(stack, jobs)] if stopped else []
        store.turn_off(switch)
        jobs.wait_for_end(waiting)
        wait_for(lambda: all(_count(each, off) > times[each.name][1] for each in processes), off)  # noqa: B023
    return len(switches)


def _submit_and_wait(stack: Stack, jobs: Jobs) -> str:
    """A job that no worker claims, although all have free slots."""
    job, client = jobs.submit(tokens=5, rate=50), stack.client()
    wait_for(lambda: client.get(f"/jobs/{job}").json()["waiting_for"], "it says why it waits")
    assert jobs.field(job, "status") == "queued"
    return job


def _count(process: Process, line: str) -> int:
    return process.output.read_text(errors="replace").count(line)
