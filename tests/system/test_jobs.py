"""Jobs over two webs and two workers: submit on one, read on the other, cancel from the other; whose job it is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from spool.bell import celery_app
from spool.bell_queue import TASK
from spool.redis.urls import broker_url_from
from tests.loopback import NO_CERTIFICATES
from tests.readers import READERS, read_sse
from tests.stack import Stack, running_stack, wait_for

LONG = {"prompt": "long", "params": {"tokens": 5000, "rate": 20}}


def test_cancel_from_another_web_ends_every_reader(stack: Stack) -> None:
    """A running job that another web cancels stops long before its end, and every reader gets one ``cancelled``."""
    here, there = stack.client(0), stack.client(1)
    job = here.post("/jobs", json=LONG).json()["id"]
    with ThreadPoolExecutor(len(READERS)) as pool:
        readings = [pool.submit(read, stack.webs[n % 2].url, job) for n, read in enumerate(READERS.values())]
        wait_for(lambda: there.get(f"/jobs/{job}").json()["last_entry"] > 5, "tokens come")
        answer = there.post(f"/jobs/{job}/cancel")
        assert answer.status_code == 200
        for reading in readings:
            kinds = [entry["kind"] for entry in reading.result(timeout=60).entries]
            assert kinds.count("cancelled") == 1
            assert kinds[-1] == "cancelled"
    assert here.get(f"/jobs/{job}").json()["status"] == "cancelled"
    last = here.get(f"/jobs/{job}").json()["last_entry"]
    assert here.post(f"/jobs/{job}/cancel").json()["status"] == "cancelled"
    assert here.get(f"/jobs/{job}").json()["last_entry"] == last


def test_cancel_of_a_silent_job(stack: Stack) -> None:
    """A job whose model says nothing yet ends by its worker's heartbeat when it is cancelled."""
    here, there = stack.client(0), stack.client(1)
    job = here.post("/jobs", json={"prompt": "x", "params": {"tokens": 5, "first_token_s": 600}}).json()["id"]
    wait_for(lambda: there.get(f"/jobs/{job}").json()["status"] == "running", "it runs")
    flagged = there.post(f"/jobs/{job}/cancel").json()
    assert flagged["status"] == "running"
    assert flagged["cancel_requested_at"] is not None
    wait_for(lambda: here.get(f"/jobs/{job}").json()["status"] == "cancelled", "it is cancelled")


def test_cancel_of_a_queued_job(directory: Path) -> None:
    """A job that no worker has begun ends at once, and a worker that comes later does not run it."""
    with running_stack(directory, webs=1, workers=0) as stack:
        client = stack.client()
        job = client.post("/jobs", json=LONG).json()
        assert client.get(f"/jobs/{job['id']}").json()["queue_position"] == 0
        assert client.post(f"/jobs/{job['id']}/cancel").json()["status"] == "cancelled"
        assert [entry["kind"] for entry in read_sse(stack.webs[0].url, job["id"]).entries] == ["cancelled"]


def test_bell_that_rings_twice_runs_the_job_once(stack: Stack) -> None:
    """Bells beyond the first, with the same message or for nothing, start nothing."""
    app = celery_app(broker_url_from(stack.redis.url))
    job = stack.client().post("/jobs", json={"prompt": "x", "params": {"tokens": 20, "rate": 50}}).json()["id"]
    for _ in range(5):
        app.send_task(TASK, args=(job,), task_id=job)
    reading = read_sse(stack.webs[1].url, job)
    kinds = [entry["kind"] for entry in reading.entries]
    assert kinds.count("started") == 1
    assert kinds.count("token") == 20
    assert stack.client().get(f"/jobs/{job}").json()["attempt"] == 1


def test_idle_reader_that_leaves_is_noticed(stack: Stack) -> None:
    """A reader that goes away while nothing happens frees its slot within seconds."""
    job = stack.client().post("/jobs", json={"prompt": "x", "params": {"first_token_s": 600}}).json()["id"]

    def streams() -> float:
        lines = stack.client(1).get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("spool_streams{"))

    wait_for(lambda: streams() == 0, "earlier tests' streams have ended")
    with httpx.stream("GET", f"{stack.webs[1].url}/jobs/{job}/stream", timeout=60, verify=NO_CERTIFICATES) as response:
        chunks = response.iter_raw()
        assert b"attached" in next(chunks)
        wait_for(lambda: streams() == 1, "the stream is counted")
    wait_for(lambda: streams() == 0, "the slot is free")
    stack.client().post(f"/jobs/{job}/cancel")


@pytest.mark.slow  # `make faults`
def test_redis_connections_do_not_grow_with_readers(directory: Path) -> None:
    """500 attached readers need no more connections to Redis than 50 do, or none at all: those of the two processes."""
    with running_stack(directory, webs=1, workers=1) as stack:
        client = stack.client(limits=httpx.Limits(max_connections=1000))
        jobs = [
            client.post("/jobs", json={"prompt": "x", "params": {"first_token_s": 600}}).json()["id"] for _ in range(25)
        ]
        # 10 of the web, 10 of the worker, and what Celery has on either side. They are opened when they are needed.
        most = 28
        with Attached(stack.webs[0].url, [jobs[n % 25] for n in range(50)]):
            assert len(stack.redis.clients()) <= most
        with Attached(stack.webs[0].url, [jobs[n % 25] for n in range(500)]):
            assert len(stack.redis.clients()) <= most
            count = 'spool_streams{media_type="text/event-stream"} %.1f'
            wait_for(lambda: count % 500 in client.get("/metrics").text, "500 streams, and not the 50 before")
        wait_for(lambda: count % 0 in client.get("/metrics").text, "all 500 are noticed to have left")
        for job in jobs:
            client.post(f"/jobs/{job}/cancel")


class Attached:
    """Readers that have attached and wait, one socket each."""

    def __init__(self, base: str, jobs: list[str]) -> None:
        self._base = base
        self._jobs = jobs
        self._sockets: list[object] = []

    def __enter__(self) -> None:
        import socket

        host, port = self._base.removeprefix("http://").split(":")
        for job in self._jobs:
            connection = socket.create_connection((host, int(port)), timeout=60)
            connection.sendall(f"GET /jobs/{job}/stream HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            self._sockets.append(connection)
        for connection in self._sockets:
            seen = b""
            while b"event: attached" not in seen:
                seen += connection.recv(4096)  # type: ignore[attr-defined]

    def __exit__(self, *_: object) -> None:
        for connection in self._sockets:
            connection.close()  # type: ignore[attr-defined]


def test_on_disconnect_cancel(stack: Stack) -> None:
    """A job that wants it goes on while anybody reads, and is cancelled when nobody does any more."""
    body = {**LONG, "on_disconnect": "cancel"}
    job = stack.client().post("/jobs", json=body).json()["id"]
    key = "spool:{0}:watched"
    assert stack.redis.link.call("ZSCORE", key, job) is not None
    thread = threading.Thread(target=read_sse, args=(stack.webs[1].url, job), kwargs={"stop_after": 10})
    thread.start()
    thread.join()
    client = stack.client()

    def is_cancelled() -> bool:
        # Nobody reads any more: what is left is the grace, which the test takes away instead of waiting it out (the
        # web renews it once more, for whoever was there since it last did).
        stack.redis.link.call("ZADD", key, "XX", 0, job)
        return bool(client.get(f"/jobs/{job}").json()["status"] == "cancelled")

    wait_for(is_cancelled, "it is cancelled")


def test_log_of_the_wrong_type_harms_no_other(stack: Stack) -> None:
    """When a log's place is taken by something else, only that job is harmed: it ends, and readers of others on the
    same web go on."""
    client = stack.client()
    body = {"prompt": "x", "params": {"tokens": 40, "rate": 20}}
    broken, sound = (client.post("/jobs", json=body).json()["id"] for _ in range(2))
    with ThreadPoolExecutor(2) as pool:
        readings = [pool.submit(read_sse, stack.webs[0].url, job) for job in (broken, sound)]
        wait_for(lambda: client.get(f"/jobs/{broken}").json()["last_entry"] > 5, "tokens come")
        stack.redis.link.call("SET", f"spool:{{0}}:job:{broken}:log", "no log")
        assert readings[1].result(30).entries[-1]["kind"] == "done"
        late = client.post("/jobs", json=body).json()["id"]
        assert read_sse(stack.webs[0].url, late).entries[-1]["kind"] == "done"
        wait_for(
            lambda: client.get(f"/jobs/{broken}").json()["status"] in ("failed", "succeeded"), "the broken one ends", 30
        )
        readings[0].result(30)
