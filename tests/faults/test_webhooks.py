"""Webhooks while workers die, and while receivers are down or slow: on a real stack."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.webhooks.delivery_store import SENDING_AT_MOST
from tests.faults.armed import Armed
from tests.faults.test_fail_points import DELIVERY_POINTS
from tests.stack import Stack, running_stack, wait_for
from tests.webhook_receiver import Receiver, receiving

DOWN_S = 60.0
_BACK_WITHIN_S = 60
"""The longest pause after a minute of failures, with jitter, and a lease."""


def submit(client: httpx.Client, count: int, **webhook: Any) -> list[str]:
    """Jobs of the demo that end at once, one after the other."""
    found = []
    for _ in range(count):
        body = {"prompt": "x", "params": {"tokens": 2, "rate": 1000}, **({"webhook": webhook} if webhook else {})}
        job = client.post("/jobs", json=body).json()["id"]
        wait_for(lambda job=job: client.get(f"/jobs/{job}").json()["status"] == "succeeded", f"{job} has ended")  # type: ignore[misc]
        found.append(job)
    return found


def states(client: httpx.Client) -> list[str]:
    """The states of all deliveries."""
    return [each["state"] for each in client.get("/webhooks/deliveries?limit=100").json()["deliveries"]]


def all_delivered(stack: Stack, receiver: Receiver, jobs: list[str]) -> None:
    """Wait until each job's event has arrived and its delivery is settled."""
    wait_for(lambda: set(receiver.subjects) >= set(jobs), f"{len(jobs)} events arrive", _BACK_WITHIN_S)
    wait_for(lambda: set(states(stack.client())) == {"delivered"}, "all are settled", _BACK_WITHIN_S)


@pytest.mark.slow
@pytest.mark.parametrize("point", DELIVERY_POINTS)
def test_worker_dies_between_lease_and_result(directory: Path, point: str) -> None:
    """Each event arrives, under one id, although the worker that leased it is killed: before it is sent, where it then
    arrives once, or after the receiver has answered, where it arrives again under the same id."""
    with receiving() as receiver, running_stack(directory, webs=1, workers=2, WEBHOOK_ALLOW="127.0.0.1") as stack:
        client, armed = stack.client(), Armed(stack.workers[0])
        stack.workers[1].kill()
        client.post("/webhooks", json={"url": receiver.url})
        armed.start(f"{point}:1:kill")
        stack.wait_ready()
        (first,) = submit(client, 1)
        wait_for(lambda: not stack.workers[0].running or bool(armed.happened), "the worker dies")
        stack.workers[1].start()
        jobs = [first, *submit(client, 3)]
        all_delivered(stack, receiver, jobs)
        assert armed.happened == [(point, "kill")]
    counts = {job: receiver.subjects.count(job) for job in jobs}
    assert all(count == 1 for job, count in counts.items() if job != first)
    assert counts[first] == (1 if point == "delivery.taken" else 2)
    assert len(set(receiver.ids)) == len(jobs)


@pytest.mark.slow
def test_workers_die_while_events_are_delivered(directory: Path) -> None:
    """Workers are killed in turn while two hundred events go to a slow receiver: each arrives, under one id."""
    with receiving() as receiver, running_stack(directory, webs=1, workers=2, WEBHOOK_ALLOW="127.0.0.1") as stack:
        client = stack.client()
        jobs = [
            client.post(
                "/jobs",
                json={"prompt": "x", "params": {"tokens": 2, "rate": 1000}, "webhook": {"url": receiver.url}},
            ).json()["id"]
            for _ in range(200)
        ]
        for number in range(4):
            least = 20 * (number + 1)
            wait_for(lambda least=least: len(receiver.received) >= least, f"{least} arrive", _BACK_WITHIN_S)  # type: ignore[misc]
            stack.workers[number % 2].kill()
            stack.workers[number % 2].start()
        all_delivered(stack, receiver, jobs)
    assert len(set(receiver.ids)) == 200
    assert set(receiver.subjects) == set(jobs)


@pytest.mark.slow
def test_receiver_is_down_for_a_minute(directory: Path) -> None:
    """While a receiver is down for a minute, and another is slow, a third gets its events at once. Once it is back, the
    first gets each event once, begun in the order of the ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://127.0.0.1:{port}/hook"
    with (
        receiving() as slow,
        receiving() as healthy,
        running_stack(directory, webs=1, workers=2, WEBHOOK_ALLOW="127.0.0.1") as stack,
    ):
        client, began = stack.client(), time.monotonic()
        slow.gate.clear()
        jobs = submit(client, 10, url=url)
        submit(client, 8, url=slow.url)
        last = submit(client, 1, url=healthy.url)
        wait_for(lambda: healthy.subjects == last, "the healthy receiver has its event", 5)
        # Not a wait for a condition: the receiver has to be down for this long.
        time.sleep(max(0.0, DOWN_S - (time.monotonic() - began)))
        with receiving(port=port) as receiver:
            back = time.monotonic()
            wait_for(lambda: len(receiver.received) >= len(jobs), "all events arrive", 2 * _BACK_WITHIN_S)
            took = time.monotonic() - back
            slow.gate.set()
        assert sorted(receiver.subjects) == sorted(jobs)
        # Attempts begin in order, a few at a time once one has succeeded.
        assert receiver.subjects[0] == jobs[0]
        assert all(abs(jobs.index(job) - at) < SENDING_AT_MOST for at, job in enumerate(receiver.subjects))
        print(f"down for {DOWN_S:.0f} s; all of {len(jobs)} delivered {took:.1f} s after it was back")
