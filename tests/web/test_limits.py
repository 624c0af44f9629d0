"""Caps: a full queue, too many streams. A refusal says when to come back, and nothing has been done."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import websocket

from tests.by_hand import HandWorker
from tests.stack import Stack, running_stack, wait_for
from tests.web.problem_shape import assert_problem, stored


@pytest.fixture(scope="module")
def capped(short_dir: Path) -> Iterator[Stack]:
    """One web that takes three queued jobs and two streams."""
    directory = Path(tempfile.mkdtemp(prefix="capped-", dir=short_dir))
    with running_stack(directory, webs=1, workers=0, MAX_QUEUED=3, MAX_STREAMS=2) as running:
        yield running


@pytest.fixture
def client(capped: Stack) -> Iterator[httpx.Client]:
    """A client of an empty Spool."""
    capped.redis.link.call("FLUSHALL")
    with capped.client() as client:
        client.timeout = httpx.Timeout(60)
        yield client


@pytest.fixture
def job(client: httpx.Client) -> str:
    """A job that runs."""
    job_id: str = client.post("/jobs", json={"prompt": "x"}).json()["id"]
    return job_id


@pytest.fixture
def all_taken(client: httpx.Client, job: str) -> Iterator[None]:
    """Two streams are open, and there is no room for a third."""
    with ExitStack() as streams:
        responses = [streams.enter_context(client.stream("GET", f"/jobs/{job}/stream")) for _ in range(2)]
        # Kept: an iterator that is forgotten closes its stream.
        bodies = [response.iter_bytes() for response in responses]
        for body in bodies:
            next(body)
        yield
    wait_for(lambda: 'spool_streams{media_type="text/event-stream"} 0.0' in client.get("/metrics").text, "both closed")


def test_queue_full(capped: Stack, client: httpx.Client) -> None:
    """A submit beyond the queue's limit is refused, and nothing of it is kept."""
    for _ in range(3):
        assert client.post("/jobs", json={"prompt": "x"}).status_code == 202
    before = stored(capped.redis.link)
    for accept in ("application/json", "text/event-stream", "text/plain"):
        assert_problem(client.post("/jobs", json={"prompt": "x"}, headers={"Accept": accept}), 503)
    assert stored(capped.redis.link) == before


def test_queue_full_for_a_replay(client: httpx.Client) -> None:
    """The retry of a job that is there is answered although the queue is full."""
    headers = {"Idempotency-Key": "k"}
    first = client.post("/jobs", json={"prompt": "x"}, headers=headers)
    for _ in range(2):
        client.post("/jobs", json={"prompt": "x"})
    again = client.post("/jobs", json={"prompt": "x"}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


def test_queue_full_for_a_batch(capped: Stack, client: httpx.Client) -> None:
    """A batch that finds no room is not accepted, and nothing of it is kept."""
    before = stored(capped.redis.link)
    assert_problem(client.post("/batches", json=[{"prompt": "x"}] * 5), 503)
    assert stored(capped.redis.link) == before
    assert client.get("/jobs").json()["jobs"] == []
    assert HandWorker(capped.redis.link).claim() is None
    assert client.post("/batches", json=[{"prompt": "x"}] * 3).status_code == 202


@pytest.mark.usefixtures("all_taken")
def test_too_many_streams(client: httpx.Client, job: str) -> None:
    """A stream, a poll and a wait beyond the limit are refused with the time to come back."""
    for accept in ("application/x-ndjson", "text/plain"):
        assert_problem(client.get(f"/jobs/{job}/stream", headers={"Accept": accept}), 503)
    assert_problem(client.get(f"/jobs/{job}/entries"), 503)


@pytest.mark.usefixtures("all_taken")
@pytest.mark.parametrize("accept", ["text/event-stream", "*/*", None])
def test_too_many_streams_for_event_source(client: httpx.Client, job: str, accept: str | None) -> None:
    """An EventSource, which any 503 would end for good, is told to come back by an event."""
    response = client.get(f"/jobs/{job}/stream", headers={"Accept": accept} if accept else {})
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    retry, event, data, *_ = response.text.split("\n")
    assert int(retry.removeprefix("retry: ")) >= 1000
    assert event == "event: unavailable"
    assert '"type":"unavailable"' in data


@pytest.mark.usefixtures("all_taken")
@pytest.mark.parametrize("path", ["/ws", "/jobs/{job}/ws"])
def test_too_many_streams_for_a_websocket(capped: Stack, job: str, path: str) -> None:
    """A WebSocket beyond the limit is refused before the upgrade."""
    url = capped.webs[0].url.replace("http://", "ws://") + path.format(job=job)
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(url, timeout=10)
    assert caught.value.status_code == 503


@pytest.mark.usefixtures("all_taken")
@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "text/plain"])
def test_too_many_streams_for_a_submit_that_streams(capped: Stack, client: httpx.Client, accept: str) -> None:
    """A submit whose stream finds no place is refused before there is a job."""
    before = stored(capped.redis.link)
    assert_problem(client.post("/jobs", json={"prompt": "x"}, headers={"Accept": accept}), 503)
    assert stored(capped.redis.link) == before


@pytest.mark.usefixtures("all_taken")
def test_too_many_streams_for_a_submit_that_would_wait(client: httpx.Client) -> None:
    """``Prefer: wait`` is a wish: without a place to wait in, the job is accepted and answered at once."""
    response = client.post("/jobs", json={"prompt": "x"}, headers={"Prefer": "wait=30"})
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers


@pytest.mark.usefixtures("all_taken")
def test_too_many_streams_leaves_the_rest(client: httpx.Client, job: str) -> None:
    """Whatever holds no stream open goes on."""
    assert client.get(f"/jobs/{job}").status_code == 200
    assert client.get("/livez").status_code == 200
    assert client.post(f"/jobs/{job}/cancel").status_code == 200


def test_jobs_that_a_socket_follows_take_places(capped: Stack, client: httpx.Client) -> None:
    """The first job that a socket follows has the socket's place; each other takes one, and is refused without one."""
    jobs = [client.post("/jobs", json={"prompt": "x"}).json()["id"] for _ in range(3)]
    socket = websocket.create_connection(capped.webs[0].url.replace("http://", "ws://") + "/ws", timeout=10)
    for job_id in jobs:
        socket.send(json.dumps({"type": "follow", "job": job_id}))
    refused = json.loads(socket.recv())
    assert (refused["type"], refused["status"], refused["job"]) == ("error", 503, jobs[2])
    client.post(f"/jobs/{jobs[1]}/cancel")
    assert [json.loads(socket.recv())["type"] for _ in range(2)] == ["entry", "ended"]
    socket.send(json.dumps({"type": "submit", "prompt": "x"}))
    assert json.loads(socket.recv())["type"] == "accepted"
    before = stored(capped.redis.link)
    socket.send(json.dumps({"type": "submit", "prompt": "x"}))
    assert json.loads(socket.recv())["status"] == 503
    assert stored(capped.redis.link) == before
    socket.close()


def test_places_are_given_back(client: httpx.Client, job: str) -> None:
    """A stream that ends, is refused or fails gives its place back."""
    for _ in range(5):
        client.get("/jobs/j0-00000000000000000000000000/stream")
        client.get(f"/jobs/{job}/entries?wait=0")
        client.get(f"/jobs/{job}/entries?after=x")
    client.post(f"/jobs/{job}/cancel")
    for accept in ("text/event-stream", "application/x-ndjson"):
        assert client.get(f"/jobs/{job}/stream", headers={"Accept": accept}).status_code == 200
