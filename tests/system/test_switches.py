"""Switches on a running Spool: what workers obey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spool.switches.store import SwitchStore
from spool.switches.switch import checked
from tests.stack import Stack, wait_for

SHORT = {"prompt": "x", "params": {"tokens": 3, "rate": 500}}


@contextmanager
def turned_on(stack: Stack, kind: str, target: str) -> Iterator[None]:
    """Have a switch on, and known to every worker."""
    store, switch = SwitchStore(stack.redis.link), checked(kind, target)
    before = [told(stack, switch.name, number) for number in range(len(stack.workers))]
    store.turn_on(switch, by="cli")
    try:
        wait_for(
            lambda: all(told(stack, switch.name, number) > seen for number, seen in enumerate(before)),
            "all workers know the switch",
        )
        yield
    finally:
        store.turn_off(switch)


def told(stack: Stack, name: str, number: int) -> int:
    """How often a worker has said that this switch is on."""
    return stack.workers[number].output.read_text().count(f"switch on: {name}")


def test_jobs_of_a_paused_model_wait(stack: Stack) -> None:
    """A running job goes on, others do not begin, and all end once the model is resumed."""
    client = stack.client()
    running = client.post("/jobs", json={"prompt": "x", "params": {"tokens": 4000, "rate": 50}}).json()["id"]
    wait_for(lambda: client.get(f"/jobs/{running}").json()["status"] == "running", "one runs")
    with turned_on(stack, "pause", "model:demo"):
        waiting = client.post("/jobs", json=SHORT).json()["id"]
        wait_for(
            lambda: client.get(f"/jobs/{waiting}").json()["waiting_for"] == {"reason": "paused"}, "it says why it waits"
        )
        first = client.get(f"/jobs/{running}").json()["last_entry"]
        wait_for(lambda: client.get(f"/jobs/{running}").json()["last_entry"] > first, "the running one goes on")
        assert client.get(f"/jobs/{waiting}").json()["status"] == "queued"
    wait_for(lambda: client.get(f"/jobs/{waiting}").json()["status"] == "succeeded", "it ends after the pause")
    client.post(f"/jobs/{running}/cancel")
