"""Keys over the admin API, and the end of what is open under a revoked one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import websocket

from tests.stack import Stack, wait_for
from tests.web.conftest import ADMIN, ALICE
from tests.web.problem_shape import assert_problem


@pytest.fixture(scope="module")
def admin(guarded: Stack) -> httpx.Client:
    """A client with the scope ``admin``."""
    return guarded.client(headers={"Authorization": f"Bearer {ADMIN}"})


def made(admin: httpx.Client, **fields: Any) -> dict[str, Any]:
    """A new key of alice."""
    response = admin.post("/admin/keys", json={"owner": "alice", **fields})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()
    return document


def with_key(guarded: Stack, key: dict[str, Any]) -> httpx.Client:
    """A client with this key."""
    return guarded.client(headers={"Authorization": f"Bearer {key['key']}"})


def test_admin_calls_need_the_scope(alice: httpx.Client) -> None:
    """A key without ``admin`` is refused, whatever it asks."""
    for method, path in [("GET", ""), ("POST", ""), ("GET", "/a"), ("PUT", "/a/limits"), ("POST", "/a/revoke")]:
        assert_problem(alice.request(method, f"/admin/keys{path}", json={}), 403)


def test_key_does_what_its_scopes_allow(guarded: Stack, admin: httpx.Client, alice: httpx.Client) -> None:
    """It is alice's, and may read and nothing else."""
    key = made(admin, name="reader", scopes=["jobs:read"])
    job = alice.post("/jobs", json={"prompt": "x"}).json()
    with with_key(guarded, key) as reader:
        assert reader.get(f"/jobs/{job['id']}").json()["owner"] == "alice"
        for response in (
            reader.post("/jobs", json={"prompt": "x"}),
            reader.get("/models"),
            reader.get("/metrics"),
            reader.get("/batches/b0-" + "0" * 26),
            reader.get("/admin/keys"),
        ):
            assert_problem(response, 403)
    listed = admin.get("/admin/keys", params={"owner": "alice"}).json()["keys"]
    assert [each["name"] for each in listed if each["id"] == key["id"]] == ["reader"]
    assert not any("key" in each for each in listed)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "owner"),
        ({"owner": "a:b"}, "owner"),
        ({"owner": "a", "scopes": ["root"]}, "scopes"),
        ({"owner": "a", "limits": {"steams": 1}}, "limits"),
        ({"owner": "a", "expires_in_s": 0}, "expires_in_s"),
        ({"owner": "a", "secret": "mine"}, "secret"),
    ],
    ids=["missing", "owner", "scope", "limit", "life", "unknown"],
)
def test_wrong_key_is_refused(admin: httpx.Client, body: dict[str, Any], field: str) -> None:
    """422 names the field."""
    problem = assert_problem(admin.post("/admin/keys", json=body), 422)
    assert problem["errors"][0]["field"] == field


def test_key_for_one_model(guarded: Stack, admin: httpx.Client) -> None:
    """It may name no other, on any surface; the record of what it submits has its id."""
    key, other = made(admin, models=["demo"]), made(admin, models=["gpt"])
    body = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
    with with_key(guarded, key) as client, with_key(guarded, other) as refused:
        job = client.post("/jobs", json=body).json()["id"]
        assert guarded.redis.link.call("HGET", f"spool:{{0}}:job:{job}", "credential") == key["id"].encode()
        for path in ("/jobs", "/v1/chat/completions"):
            assert refused.post(path, json=body).status_code == 403
        assert_problem(refused.post("/batches", json=[{"prompt": "x"}]), 403)


def test_unknown_key(admin: httpx.Client) -> None:
    """404 for an id without a key, of any form."""
    for key_id in ("a" * 12, "x", "a:b"):
        assert_problem(admin.get(f"/admin/keys/{key_id}"), 404)
        assert_problem(admin.post(f"/admin/keys/{key_id}/revoke"), 404)
        assert_problem(admin.put(f"/admin/keys/{key_id}/limits", json={}), 404)


def test_limit_of_requests(guarded: Stack, admin: httpx.Client) -> None:
    """Changes count, on every surface and on a socket; polls do not."""
    key = made(admin, limits={"requests_per_minute": 3})
    chat = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with with_key(guarded, key) as client:
        first = client.post("/jobs", json={"prompt": "x"})
        assert first.headers["RateLimit-Policy"] == '"credential";q=3;w=60'
        with client.stream("POST", "/v1/chat/completions", json=chat) as second:
            assert second.headers["x-ratelimit-remaining-requests"] == "1"
        for _ in range(5):
            polled = client.get(f"/jobs/{first.json()['id']}")
            assert polled.status_code == 200
            assert "RateLimit" not in polled.headers
        header = {"Authorization": f"Bearer {key['key']}"}
        socket = websocket.create_connection(guarded.webs[0].url.replace("http", "ws") + "/ws", header=header)
        said = []
        for _ in range(2):
            socket.send('{"type":"submit","prompt":"x"}')
            said.append(socket.recv())
        socket.shutdown()
        assert '"type":"accepted"' in said[0]
        assert '"status":429' in said[1]
        refused = client.post("/jobs", json={"prompt": "x"})
        assert_problem(refused, 429)
        assert int(refused.headers["Retry-After"]) > 0
        assert client.post("/v1/chat/completions", json=chat).json()["error"]["code"]


def test_socket_of_a_key_that_may_only_write(guarded: Stack, admin: httpx.Client, alice: httpx.Client) -> None:
    """It gets the jobs that it submits there, and no other one of its owner."""
    key = made(admin, scopes=["jobs:write"])
    other = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    header = {"Authorization": f"Bearer {key['key']}"}
    socket = websocket.create_connection(guarded.webs[0].url.replace("http", "ws") + "/ws", header=header, timeout=10)
    socket.send(f'{{"type":"follow","job":"{other}"}}')
    assert '"status":403' in socket.recv()
    socket.send('{"type":"submit","prompt":"x"}')
    assert '"type":"accepted"' in socket.recv()
    socket.shutdown()


def test_cancel_by_a_key_that_may_only_write(guarded: Stack, admin: httpx.Client, alice: httpx.Client) -> None:
    """Its answers have the state of the job, and nothing of its texts."""
    key = made(admin, scopes=["jobs:write"])
    asked = {"model": "demo", "input": "x", "instructions": "be brief", "background": True}
    response = alice.post("/v1/responses", json=asked).json()
    job = response["id"].removeprefix("resp_")
    assert response["instructions"] == "be brief"
    with with_key(guarded, key) as writer:
        cancelled = writer.post(f"/v1/responses/{response['id']}/cancel").json()
        assert (cancelled["status"], cancelled["output"], cancelled["instructions"]) == ("cancelled", [], None)
        assert "text" not in writer.post(f"/jobs/{job}/cancel").json()
        assert writer.get(f"/jobs/{job}").status_code == 403
    assert alice.post(f"/v1/responses/{response['id']}/cancel").json()["instructions"] == "be brief"


def test_limit_of_streams(guarded: Stack, admin: httpx.Client) -> None:
    """A key has its own limit of streams, below its owner's. A poll that does not wait is none, and a submit beyond the
    limit leaves no job."""
    key = made(admin, limits={"streams": 1})
    with with_key(guarded, key) as client:
        job = client.post("/jobs", json={"prompt": "x"}).json()["id"]
        with client.stream("GET", f"/jobs/{job}/stream", headers={"Accept": "application/x-ndjson"}):
            refused = client.get(f"/jobs/{job}/stream", headers={"Accept": "application/x-ndjson"})
            assert_problem(refused, 429)
            batch = client.post("/batches", json=[{"prompt": "x"}]).json()["id"]
            assert_problem(client.get(f"/batches/{batch}/results"), 429)
            assert client.get(f"/jobs/{job}/entries?wait=0").status_code == 200
            newest = client.get("/jobs?limit=1").json()["jobs"][0]["id"]
            refused = client.post("/jobs", json={"prompt": "x"}, headers={"Accept": "application/x-ndjson"})
            assert_problem(refused, 429)
            assert client.get("/jobs?limit=1").json()["jobs"][0]["id"] == newest
        # The web notices a little later that the stream's client has left.
        wait_for(lambda: client.get(f"/batches/{batch}/results").status_code == 200, "the stream is over")


def test_limit_of_streams_counts_the_jobs_of_a_socket(guarded: Stack, admin: httpx.Client) -> None:
    """Each job that a socket follows is a stream; one beyond the limit is not submitted."""
    key = made(admin, limits={"streams": 2})
    header = {"Authorization": f"Bearer {key['key']}"}
    socket = websocket.create_connection(guarded.webs[0].url.replace("http", "ws") + "/ws", header=header, timeout=10)
    said = list[str]()
    while len(said) < 3:
        socket.send(f'{{"type":"submit","prompt":"x","ref":"{len(said)}"}}')
        while f'"ref":"{len(said)}"' not in (found := socket.recv()):
            pass
        said.append(found)
    socket.shutdown()
    assert ["accepted" in each for each in said] == [True, True, False]
    assert "this key has 2 streams" in said[2]


def test_revoked_key_ends_all_that_is_open(guarded: Stack, admin: httpx.Client) -> None:
    """Streams, sockets, long polls and whole answers end within seconds, another key's stay, and the key is refused."""
    key = made(admin)
    url = guarded.webs[0].url
    header = {"Authorization": f"Bearer {key['key']}"}
    chat = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
    with ExitStack() as opened, ThreadPoolExecutor(4) as pool:
        client = opened.enter_context(with_key(guarded, key))
        job = client.post("/jobs", json={"prompt": "x"}).json()["id"]

        def stream(accept: str, shown: dict[str, str] = header) -> Any:
            request = opened.enter_context(
                httpx.stream("GET", f"{url}/jobs/{job}/stream", headers={"Accept": accept, **shown}, timeout=30)
            )
            return request.iter_bytes()

        sse, ndjson = stream("text/event-stream"), stream("application/x-ndjson")
        text = stream("text/plain")
        kept = stream("text/event-stream", {"Authorization": f"Bearer {ALICE}"})
        sockets = [
            websocket.create_connection(url.replace("http", "ws") + path, header=header, timeout=30)
            for path in (f"/jobs/{job}/ws", "/ws")
        ]
        poll = pool.submit(client.get, f"/jobs/{job}/entries?wait=50", timeout=30)
        whole = pool.submit(client.post, "/v1/chat/completions", json=chat, timeout=30)
        assert b"attached" in next(kept)
        admin.post(f"/admin/keys/{key['id']}/revoke")
        assert b"event: unavailable" in b"".join(sse)
        assert b'"type":"unavailable"' in b"".join(ndjson)
        with pytest.raises(httpx.RemoteProtocolError):
            b"".join(text)
        for socket in sockets:
            code, frame = socket.recv_data()
            while code != websocket.ABNF.OPCODE_CLOSE:
                code, frame = socket.recv_data()
            assert int.from_bytes(frame[:2], "big") == 4401
            socket.shutdown()
        assert poll.result().json()["entries"] == []
        assert whole.result().status_code == 401
        assert_problem(client.get(f"/jobs/{job}"), 401)
        with guarded.client(headers={"Authorization": f"Bearer {ALICE}"}) as alice:
            alice.post(f"/jobs/{job}/cancel")
        assert b"event: cancelled" in b"".join(kept)
