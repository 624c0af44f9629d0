"""Browser tokens: where they are shown, and what they allow."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import websocket

from spool.access.signing_keys import SigningKeys
from tests.stack import Stack
from tests.web.conftest import ADMIN
from tests.web.problem_shape import assert_problem


@pytest.fixture(scope="module")
def nobody(guarded: Stack) -> httpx.Client:
    """A client without a key."""
    return guarded.client(headers={"Origin": "https://elsewhere.example"})


def token_of(client: httpx.Client, **scope: Any) -> dict[str, Any]:
    """A token for this scope."""
    response = client.post("/tokens", json={"scope": scope})
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def bearer(document: dict[str, Any]) -> dict[str, str]:
    """The header with the token."""
    return {"Authorization": f"Bearer {document['token']}"}


def test_token_is_shown_in_a_header_an_argument_or_a_subprotocol(
    guarded: Stack, alice: httpx.Client, nobody: httpx.Client
) -> None:
    """All three read the job; the argument counts on streams alone."""
    job = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    token = token_of(alice, job=job)
    assert nobody.get(f"/jobs/{job}", headers=bearer(token)).json()["id"] == job
    assert nobody.get(f"/jobs/{job}/entries", params={"token": token["token"], "wait": 0}).status_code == 200
    assert_problem(nobody.get(f"/jobs/{job}", params={"token": token["token"]}), 401)
    socket = websocket.create_connection(
        f"{guarded.webs[0].url.replace('http', 'ws')}/jobs/{job}/ws",
        subprotocols=[token["subprotocol"], "spool.json"],
        origin="https://elsewhere.example",
        timeout=10,
    )
    assert socket.getsubprotocol() == "spool.json"
    socket.shutdown()


def test_token_reads_its_job_and_nothing_else(alice: httpx.Client, nobody: httpx.Client) -> None:
    """No list, no other job, no submit, no token of its own, no socket for many jobs."""
    job, other = (alice.post("/jobs", json={"prompt": "x"}).json()["id"] for _ in range(2))
    header = bearer(token_of(alice, job=job))
    for method, path in [
        ("GET", f"/jobs/{other}"),
        ("GET", f"/jobs/{other}/entries"),
        ("POST", f"/jobs/{job}/cancel"),
        ("GET", "/jobs"),
        ("POST", "/jobs"),
        ("POST", "/tokens"),
        ("POST", f"/jobs/{job}/links"),
        ("GET", "/metrics"),
        ("GET", "/admin/keys"),
        ("POST", "/v1/chat/completions"),
        ("GET", f"/v1/responses/resp_{job}"),
    ]:
        response = nobody.request(method, path, headers=header, json={"prompt": "x"} if method == "POST" else None)
        assert response.status_code == 403, (path, response.text)


def test_token_reads_a_durable_stream(alice: httpx.Client, nobody: httpx.Client) -> None:
    """A page of any origin reads its job, with the headers; another job is refused."""
    job, other = (alice.post("/jobs", json={"prompt": "x"}).json()["id"] for _ in range(2))
    token = token_of(alice, job=job)["token"]
    answer = nobody.get(f"/durable/{job}", params={"token": token})
    assert (answer.json(), answer.headers["Access-Control-Allow-Origin"]) == ([], "*")
    assert "Stream-Next-Offset" in answer.headers["Access-Control-Expose-Headers"]
    assert_problem(nobody.get(f"/durable/{other}", params={"token": token}), 403)


def test_token_for_a_batch(alice: httpx.Client, nobody: httpx.Client) -> None:
    """It reads the batch, its results and its jobs; it cancels them if it was asked for."""
    batch = alice.post("/batches", json=[{"prompt": "x"}]).json()["id"]
    (inside,) = alice.get("/jobs", params={"batch": batch}).json()["jobs"]
    outside = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    header = bearer(alice.post("/tokens", json={"scope": {"batch": batch}, "cancel": True}).json())
    assert nobody.get(f"/batches/{batch}", headers=header).status_code == 200
    assert nobody.get(f"/batches/{batch}/results", headers=header).status_code == 200
    for call in ("", "/stream?after=0", "/entries?wait=0"):
        path = f"/jobs/{outside}{call}"
        assert_problem(nobody.get(path, headers={**header, "Accept": "*/*"}), 404)
    assert_problem(nobody.post(f"/jobs/{outside}/cancel", headers=header), 404)
    assert nobody.post(f"/jobs/{inside['id']}/cancel", headers=header).json()["status"] == "cancelled"


def test_token_for_a_conversation(guarded: Stack, alice: httpx.Client, nobody: httpx.Client) -> None:
    """It reads the jobs of the conversation, also those that come later, and no others; a socket, too."""
    header = bearer(token_of(alice, conversation="talk"))
    inside = alice.post("/jobs", json={"prompt": "x", "conversation": {"id": "talk"}}).json()["id"]
    outside = alice.post("/jobs", json={"prompt": "x", "conversation": {"id": "other"}}).json()["id"]
    assert nobody.get(f"/jobs/{inside}", headers=header).json()["id"] == inside
    assert_problem(nobody.get(f"/jobs/{outside}", headers=header), 404)
    assert_problem(nobody.get("/batches/b0-" + "0" * 26, headers=header), 403)
    url = f"{guarded.webs[0].url.replace('http', 'ws')}/jobs/{outside}/ws"
    socket = websocket.create_connection(url, header=header, timeout=10)
    _code, frame = socket.recv_data()
    assert int.from_bytes(frame[:2], "big") in (1008, 4404)
    socket.shutdown()


def test_stream_ends_with_its_token(alice: httpx.Client, nobody: httpx.Client) -> None:
    """Within seconds after its expiry, and a new one is refused."""
    job = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    token = alice.post("/tokens", json={"scope": {"job": job}, "ttl_s": 2}).json()["token"]
    with nobody.stream("GET", f"/jobs/{job}/stream", params={"token": token}, headers={"Accept": "*/*"}) as stream:
        assert b"event: unavailable" in stream.read()
    assert_problem(nobody.get(f"/jobs/{job}/stream", params={"token": token}), 401)


def test_token_may_not_do_more_than_its_maker(guarded: Stack, alice: httpx.Client, bob: httpx.Client) -> None:
    """A reader's token cannot cancel, and nobody makes one for another owner's job or batch."""
    job = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    batch = alice.post("/batches", json=[{"prompt": "x"}]).json()["id"]
    for scope in ({"job": job}, {"batch": batch}):
        assert_problem(bob.post("/tokens", json={"scope": scope}), 404)
    with guarded.client(headers={"Authorization": f"Bearer {ADMIN}"}) as admin:
        key = admin.post("/admin/keys", json={"owner": "alice", "scopes": ["jobs:read"]}).json()["key"]
    with guarded.client(headers={"Authorization": f"Bearer {key}"}) as reader:
        assert_problem(reader.post("/tokens", json={"scope": {"job": job}, "cancel": True}), 403)
        assert_problem(reader.post("/tokens", json={"scope": {"batch": batch}}), 403)
        assert_problem(reader.post(f"/jobs/{job}/links", json={"scope": ["cancel"]}), 403)
        assert reader.post("/tokens", json={"scope": {"job": job}}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{}, {"scope": {}}, {"scope": {"job": "a", "batch": "b"}}, {"scope": {"tag": "a"}}, {"scope": "jobs:read"}],
    ids=range(5),
)
def test_wrong_token_is_refused(alice: httpx.Client, body: dict[str, Any]) -> None:
    """422: a token is for exactly one job, batch or conversation."""
    assert_problem(alice.post("/tokens", json=body), 422)


def test_streams_end_when_the_signing_keys_are_dropped(
    guarded: Stack, alice: httpx.Client, nobody: httpx.Client
) -> None:
    """What the old key has signed ends at once, also what is open under it."""
    job = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    token = token_of(alice, job=job)["token"]
    accept = {"Accept": "text/event-stream"}
    with nobody.stream("GET", f"/jobs/{job}/stream", params={"token": token}, headers=accept) as stream:
        pieces = stream.iter_bytes()
        assert b"attached" in next(pieces)
        SigningKeys(guarded.redis.link).rotate(drops_old=True)
        assert b"event: unavailable" in b"".join(pieces)
    assert_problem(nobody.get(f"/jobs/{job}/stream", params={"token": token}, headers=accept), 401)
