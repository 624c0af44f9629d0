"""One owner's own limits over HTTP: 429 with the time to come back, nothing left behind, and other owners go on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

from tests.loopback import NO_CERTIFICATES
from tests.stack import Stack, running_stack, wait_for
from tests.web.conftest import ALICE, BOB
from tests.web.problem_shape import assert_problem, stored

SUBMITS: list[tuple[str, Any]] = [
    ("/jobs", {"prompt": "x"}),
    ("/v1/responses", {"model": "demo", "input": "x", "background": True}),
    ("/v1/responses", {"model": "demo", "input": "x"}),
    ("/v1/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": "x"}]}),
    ("/batches", [{"prompt": "x"}]),
    ("/ai/chat", {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}]}),
]


@pytest.fixture(scope="module")
def shared(short_dir: Path) -> Iterator[Stack]:
    """One web for two owners: four streams and eight queued jobs for all, so three and six for one."""
    directory = Path(tempfile.mkdtemp(prefix="shared-", dir=short_dir))
    keys = f"alice={ALICE},bob={BOB}"
    with running_stack(directory, webs=1, workers=0, API_KEYS=keys, MAX_QUEUED=8, MAX_STREAMS=4) as running:
        yield running


@pytest.fixture
def clients(shared: Stack) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Alice's and bob's clients of an empty Spool."""
    shared.redis.link.call("FLUSHALL")
    url, timeout = shared.webs[0].url, httpx.Timeout(5)
    with (
        httpx.Client(
            base_url=url, timeout=timeout, headers={"Authorization": f"Bearer {ALICE}"}, verify=NO_CERTIFICATES
        ) as alice,
        httpx.Client(
            base_url=url, timeout=timeout, headers={"Authorization": f"Bearer {BOB}"}, verify=NO_CERTIFICATES
        ) as bob,
    ):
        yield alice, bob


@contextmanager
def three_streams(client: httpx.Client, job: str) -> Iterator[None]:
    """As many streams as one owner may have are open."""
    with ExitStack() as streams:
        responses = [streams.enter_context(client.stream("GET", f"/jobs/{job}/stream")) for _ in range(3)]
        bodies = [response.iter_bytes() for response in responses]
        for body in bodies:
            next(body)
        yield
    wait_for(lambda: 'spool_streams{media_type="text/event-stream"} 0.0' in client.get("/metrics").text, "all closed")


@pytest.mark.parametrize(("path", "body"), SUBMITS)
def test_queue_of_an_owner(shared: Stack, clients: tuple[httpx.Client, httpx.Client], path: str, body: Any) -> None:
    """On every surface a submit beyond the owner's own limit gets 429 and leaves nothing; another's is taken."""
    alice, bob = clients
    for _ in range(6):
        assert alice.post("/jobs", json={"prompt": "x"}).status_code == 202
    before = stored(shared.redis.link)
    refused = alice.post(path, json=body)
    assert (refused.status_code, int(refused.headers["Retry-After"]) >= 1) == (429, True)
    assert "queued jobs" in refused.text
    assert stored(shared.redis.link) == before
    assert bob.post("/jobs", json={"prompt": "x"}).status_code == 202


def test_code_of_the_refusal(clients: tuple[httpx.Client, httpx.Client]) -> None:
    """The native API names the limit in the problem's type, ``/v1`` in the error's code."""
    alice, _bob = clients
    for _ in range(6):
        alice.post("/jobs", json={"prompt": "x"})
    problem = assert_problem(alice.post("/jobs", json={"prompt": "x"}), 429)
    assert problem["type"] == "/docs#owner-queue-full"
    error = alice.post("/v1/responses", json={"model": "demo", "input": "x", "background": True}).json()["error"]
    assert error["code"] == "owner_queue_full"


def test_queue_of_all(clients: tuple[httpx.Client, httpx.Client]) -> None:
    """What all owners together have queued is limited as before, with 503."""
    alice, bob = clients
    for client, count in ((alice, 6), (bob, 2)):
        for _ in range(count):
            assert client.post("/jobs", json={"prompt": "x"}).status_code == 202
    assert_problem(bob.post("/jobs", json={"prompt": "x"}), 503)


def test_streams_of_an_owner(shared: Stack, clients: tuple[httpx.Client, httpx.Client]) -> None:
    """An owner with as many streams as one may have gets 429 on every transport, and ``unavailable`` on SSE; another
    owner's stream is served."""
    alice, bob = clients
    job = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    other = bob.post("/jobs", json={"prompt": "x"}).json()["id"]
    with three_streams(alice, job):
        for accept in ("application/x-ndjson", "text/plain"):
            problem = assert_problem(alice.get(f"/jobs/{job}/stream", headers={"Accept": accept}), 429)
            assert problem["type"] == "/docs#owner-streams-full"
        assert_problem(alice.get(f"/jobs/{job}/entries"), 429)
        assert "event: unavailable" in alice.get(f"/jobs/{job}/stream").text
        before = stored(shared.redis.link)
        for path, body in SUBMITS[2:4] + SUBMITS[5:]:
            assert alice.post(path, json=body).status_code == 429
        assert stored(shared.redis.link) == before
        url = shared.webs[0].url.replace("http://", "ws://")
        for path in ("/ws", f"/jobs/{job}/ws"):
            with pytest.raises(websocket.WebSocketBadStatusException) as caught:
                websocket.create_connection(url + path, timeout=10, header=[f"Authorization: Bearer {ALICE}"])
            assert caught.value.status_code == 429
        with bob.stream("GET", f"/jobs/{other}/stream") as stream:
            assert b"attached" in next(stream.iter_bytes())


def test_polls_need_no_place_of_a_stream(clients: tuple[httpx.Client, httpx.Client]) -> None:
    """Short polls are answered however many streams are open."""
    alice, bob = clients
    job = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    other = bob.post("/jobs", json={"prompt": "x"}).json()["id"]
    with three_streams(alice, job), bob.stream("GET", f"/jobs/{other}/stream") as last:
        body = last.iter_bytes()
        next(body)
        for client, job_id in ((alice, job), (bob, other)):
            assert client.get(f"/jobs/{job_id}").status_code == 200
            assert client.get(f"/jobs/{job_id}/entries?wait=0").status_code == 200
        assert_problem(bob.get(f"/jobs/{other}/entries?wait=1"), 503)


def test_workers_learn_the_limits(shared: Stack, clients: tuple[httpx.Client, httpx.Client]) -> None:
    """A web says in Redis what one owner may have running, within seconds also of an empty Redis."""
    _alice, _bob = clients
    wait_for(lambda: shared.redis.link.call("HGET", "spool:{0}:limits", "owner_share") == b"0.75", "the share is there")
