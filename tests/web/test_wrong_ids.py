"""Calls with an id: unknown, another owner's, and of a job that was deleted."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
import websocket
from pydantic import SecretStr

from spool.keys import job as job_key
from spool.settings import WebSettings
from tests.stack import Stack
from tests.web.conftest import ALICE, BOB
from tests.web.problem_shape import assert_problem, stored
from web.app import create_app

NOBODYS = "j0-" + "0" * 26
NOBODYS_BATCH = "b0-" + "0" * 26

JOB_CALLS: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "show": lambda client, job: client.get(f"/jobs/{job}"),
    "entries": lambda client, job: client.get(f"/jobs/{job}/entries"),
    "entries at once": lambda client, job: client.get(f"/jobs/{job}/entries?wait=0"),
    "stream": lambda client, job: client.get(f"/jobs/{job}/stream"),
    "sse": lambda client, job: client.get(f"/jobs/{job}/stream", headers={"Accept": "text/event-stream"}),
    "ndjson": lambda client, job: client.get(f"/jobs/{job}/stream", headers={"Accept": "application/x-ndjson"}),
    "text": lambda client, job: client.get(f"/jobs/{job}/stream", headers={"Accept": "text/plain"}),
    "cancel": lambda client, job: client.post(f"/jobs/{job}/cancel"),
    "delete": lambda client, job: client.delete(f"/jobs/{job}"),
}
BATCH_CALLS: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "show": lambda client, batch: client.get(f"/batches/{batch}"),
    "results": lambda client, batch: client.get(f"/batches/{batch}/results"),
    "cancel": lambda client, batch: client.post(f"/batches/{batch}/cancel"),
    "retry": lambda client, batch: client.post(f"/batches/{batch}/retry"),
    "lines": lambda client, batch: client.post(f"/batches/{batch}/lines", json=[{"prompt": "x"}]),
    "seal": lambda client, batch: client.post(f"/batches/{batch}/seal"),
}
NO_IDS = [
    "nonsense",
    "j0-",
    "j0-short",
    "j1-" + "0" * 26,
    "j9999-" + "0" * 26,
    "j99999-" + "0" * 26,
    "j-1-" + "0" * 26,
    "J0-" + "0" * 26,
    "j0-" + "A" * 26,
    "j0-" + "0" * 41,
    "j0-" + "0" * 26 + "%0A",
    "j٠-" + "0" * 26,
    "j0-%00" + "0" * 26,
    "%ff%fe",
    "🧵",
    "x" * 3000,
    "..%2f..%2fmodels",
    "j0-" + "0" * 26 + ":log",
]
_OWN = ("date", "x-request-id", "ratelimit")
"""Headers that differ from answer to answer."""
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def submit(client: httpx.Client, prompt: str = "x") -> str:
    """A job that waits for ever: nobody works here."""
    response = client.post("/jobs", json={"prompt": prompt})
    assert response.status_code == 202
    job_id: str = response.json()["id"]
    return job_id


def close_code(stack: Stack, path: str, secret: str) -> int:
    """With which code a WebSocket that is opened there closes."""
    url = stack.webs[0].url.replace("http://", "ws://") + path
    socket = websocket.create_connection(url, header={"Authorization": f"Bearer {secret}"}, timeout=10)
    try:
        opcode, data = socket.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE, data
        return int.from_bytes(data[:2])
    finally:
        socket.shutdown()


@pytest.mark.parametrize("call", JOB_CALLS)
def test_unknown_and_foreign_job_look_the_same(
    guarded: Stack, alice: httpx.Client, bob: httpx.Client, call: str
) -> None:
    """Another owner's job and one that never was get the same answer, byte for byte; nothing happens to it."""
    theirs = submit(bob)
    before = stored(guarded.redis.link)
    unknown, foreign = JOB_CALLS[call](alice, NOBODYS), JOB_CALLS[call](alice, theirs)
    assert_problem(unknown, 404)
    assert_problem(foreign, 404)
    assert unknown.content == foreign.content
    shown = [{k: v for k, v in r.headers.items() if k not in _OWN} for r in (unknown, foreign)]
    assert shown[0] == shown[1]
    assert stored(guarded.redis.link) == before


def test_unknown_and_foreign_job_over_websocket(guarded: Stack, bob: httpx.Client) -> None:
    """A WebSocket on a job that is not there, or somebody else's, closes with 4404."""
    theirs = submit(bob)
    assert close_code(guarded, f"/jobs/{NOBODYS}/ws", ALICE) == 4404
    assert close_code(guarded, f"/jobs/{theirs}/ws", ALICE) == 4404


@pytest.mark.parametrize("call", JOB_CALLS)
def test_id_that_cannot_be_one(alice: httpx.Client, call: str) -> None:
    """A malformed id gets the answer of an unknown job."""
    for job_id in NO_IDS:
        assert_problem(JOB_CALLS[call](alice, job_id), 404)


def test_batch_id_is_no_job_id(alice: httpx.Client) -> None:
    """A batch is no job, and a job no batch."""
    batch = alice.post("/batches", json=[{"prompt": "x"}]).json()["id"]
    job = submit(alice)
    assert_problem(alice.get(f"/jobs/{batch}"), 404)
    assert_problem(alice.get(f"/batches/{job}"), 404)


@pytest.mark.parametrize("call", BATCH_CALLS)
def test_unknown_and_foreign_batch_look_the_same(
    guarded: Stack, alice: httpx.Client, bob: httpx.Client, call: str
) -> None:
    """Another owner's batch and one that never was get the same answer; nothing happens to it."""
    theirs = bob.post("/batches", json=[{"prompt": "x"}]).json()["id"]
    before = stored(guarded.redis.link)
    unknown, foreign = BATCH_CALLS[call](alice, NOBODYS_BATCH), BATCH_CALLS[call](alice, theirs)
    assert_problem(unknown, 404)
    assert_problem(foreign, 404)
    assert unknown.content == foreign.content
    assert stored(guarded.redis.link) == before


@pytest.mark.parametrize("call", BATCH_CALLS)
def test_batch_id_that_cannot_be_one(alice: httpx.Client, call: str) -> None:
    """A malformed id gets the answer of an unknown batch."""
    for batch_id in NO_IDS:
        assert_problem(BATCH_CALLS[call](alice, batch_id.replace("j", "b")), 404)


@pytest.mark.parametrize("call", JOB_CALLS)
def test_deleted_job(alice: httpx.Client, bob: httpx.Client, call: str) -> None:
    """A deleted job is gone for its owner, and was never there for anybody else."""
    job = submit(alice)
    alice.post(f"/jobs/{job}/cancel")
    assert alice.delete(f"/jobs/{job}").status_code == 204
    document = assert_problem(JOB_CALLS[call](alice, job), 410)
    assert document["job"] == job
    foreign = JOB_CALLS[call](bob, job)
    assert_problem(foreign, 404)
    assert foreign.content == JOB_CALLS[call](bob, NOBODYS).content


def test_deleted_job_over_websocket(guarded: Stack, alice: httpx.Client) -> None:
    """A WebSocket on a deleted job closes with 4410 for its owner, and with 4404 for anybody else."""
    job = submit(alice)
    alice.post(f"/jobs/{job}/cancel")
    alice.delete(f"/jobs/{job}")
    assert close_code(guarded, f"/jobs/{job}/ws", ALICE) == 4410
    assert close_code(guarded, f"/jobs/{job}/ws", BOB) == 4404


def test_expired_job(guarded: Stack, alice: httpx.Client) -> None:
    """An expired job is gone while its tombstone is kept, and then was never there."""
    job = submit(alice)
    alice.post(f"/jobs/{job}/cancel")
    key = job_key(job)
    guarded.redis.link.call("DEL", key, f"{key}:input", f"{key}:log", f"{key}:text")
    assert_problem(alice.get(f"/jobs/{job}"), 410)
    assert job not in [one["id"] for one in alice.get("/jobs").json()["jobs"]]
    guarded.redis.link.call("DEL", f"{key}:gone")
    assert_problem(alice.get(f"/jobs/{job}"), 404)


def test_delete_of_a_job_that_has_not_ended(guarded: Stack, alice: httpx.Client) -> None:
    """A job that has not ended cannot be deleted, and stays as it is."""
    job = submit(alice)
    before = stored(guarded.redis.link)
    document = assert_problem(alice.delete(f"/jobs/{job}"), 409)
    assert document["job"] == job
    assert stored(guarded.redis.link) == before


def test_deleted_job_frees_its_idempotency_key(alice: httpx.Client) -> None:
    """After a delete, the same Idempotency-Key begins another job."""
    headers = {"Idempotency-Key": "freed"}
    first = alice.post("/jobs", json={"prompt": "x"}, headers=headers).json()["id"]
    alice.post(f"/jobs/{first}/cancel")
    alice.delete(f"/jobs/{first}")
    again = alice.post("/jobs", json={"prompt": "x"}, headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] != first


def test_cancel_any_number_of_times(alice: httpx.Client) -> None:
    """Cancelling is answered with the job, however often it is asked for."""
    job = submit(alice)
    answers = [alice.post(f"/jobs/{job}/cancel") for _ in range(3)]
    assert [(r.status_code, r.json()["status"], r.json()["last_entry"]) for r in answers] == [(200, "cancelled", 1)] * 3


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/jobs", "POST"),
        ("DELETE", "/jobs", "GET"),
        ("POST", f"/jobs/{NOBODYS}", "DELETE"),
        ("PATCH", f"/jobs/{NOBODYS}", "GET"),
        ("GET", f"/jobs/{NOBODYS}/cancel", "POST"),
        ("POST", f"/jobs/{NOBODYS}/entries", "GET"),
        ("POST", f"/jobs/{NOBODYS}/stream", "GET"),
        ("PUT", f"/batches/{NOBODYS_BATCH}", "GET"),
        ("POST", "/models", "GET"),
        ("BREW", "/jobs", "POST"),
    ],
)
def test_method_that_is_not_there(alice: httpx.Client, method: str, path: str, allowed: str) -> None:
    """A wrong method is answered with those that are right."""
    response = alice.request(method, path)
    assert_problem(response, 405)
    assert allowed in response.headers["Allow"].split(", ")


@pytest.mark.parametrize("path", ["/nowhere", "/jobs/", "/static/../app.py", "/static/%00", "/%ff"])
def test_path_that_is_not_there(alice: httpx.Client, path: str) -> None:
    """A path that nobody serves is a problem like any other."""
    assert_problem(alice.get(path), 404)


@pytest.mark.parametrize("accept", ["image/png", "application/json", "application/xml, image/*", "nonsense"])
def test_stream_in_a_format_that_is_not_there(alice: httpx.Client, accept: str) -> None:
    """A stream is SSE, NDJSON or text; who takes none of them is told so."""
    assert_problem(alice.get(f"/jobs/{submit(alice)}/stream", headers={"Accept": accept}), 406)


@pytest.mark.parametrize("path", ["/ws", f"/jobs/{NOBODYS}/ws"])
def test_websocket_without_an_upgrade(alice: httpx.Client, path: str) -> None:
    """A plain request to a WebSocket is told what it is."""
    response = alice.get(path)
    assert_problem(response, 426)
    assert response.headers["Upgrade"] == "websocket"


@pytest.mark.parametrize(
    "wrong",
    [
        {"Sec-WebSocket-Key": None},
        {"Sec-WebSocket-Key": "short"},
        {"Sec-WebSocket-Version": None},
        {"Sec-WebSocket-Version": "12"},
        {"Connection": "close"},
    ],
    ids=repr,
)
def test_websocket_with_a_broken_handshake(alice: httpx.Client, wrong: dict[str, str | None]) -> None:
    """A handshake that is none is refused, and is nobody's internal error."""
    headers = {name: value for name, value in {**HANDSHAKE, **wrong}.items() if value is not None}
    response = alice.get("/ws", headers=headers)
    assert 400 <= response.status_code < 500


def test_every_route_with_another_owners_ids(guarded: Stack, alice: httpx.Client, bob: httpx.Client) -> None:
    """Any route answers another owner's id as it answers an id that nobody has, and changes nothing."""
    job = alice.post("/jobs", json={"prompt": "secret prompt"}).json()["id"]
    batch = alice.post("/batches", json=[{"prompt": "secret prompt"}]).json()["id"]
    chat = {"id": "a-chat", "messages": [{"role": "user", "parts": [{"type": "text", "text": "secret prompt"}]}]}
    with alice.stream("POST", "/ai/chat", json=chat) as streamed:
        assert streamed.status_code == 200
    form = {"files": {"file": ("secret.txt", b"secret")}, "data": {"purpose": "user_data"}}
    file = alice.post("/v1/files", **form).json()["id"]
    webhook = alice.post("/webhooks", json={"url": "https://app.example/secret"}).json()["id"]
    alice.post(f"/jobs/{alice.post('/jobs', json={'prompt': 'x'}).json()['id']}/cancel")
    delivery = alice.get("/webhooks/deliveries").json()["deliveries"][0]["id"]
    said = {"items": [{"role": "user", "content": "secret"}]}
    conversation = alice.post("/v1/conversations", json=said).json()["id"]
    item = alice.get(f"/v1/conversations/{conversation}/items").json()["data"][0]["id"]
    ids = {
        "job_id": (job, NOBODYS),
        "batch_id": (batch, NOBODYS_BATCH),
        "response_id": (f"resp_{job}", f"resp_{NOBODYS}"),
        "chat_id": ("a-chat", "no-chat"),
        "file_id": (file, "file-" + "0" * (len(file) - 5)),
        "webhook_id": (webhook, "we_" + "0" * 16),
        "delivery_id": (delivery, f"msg_{NOBODYS}_{webhook}"),
        "conversation_id": (conversation, "conv_" + "0" * 32),
    }
    app = create_app(WebSettings(redis_url=SecretStr("redis://127.0.0.1:1")))
    tried, before = set(), stored(guarded.redis.link)
    for rule in app.url_map.iter_rules():
        scope = app.view_functions[rule.endpoint].scope  # type: ignore[attr-defined]
        # Names of models, files and keys are no owner's.
        if not rule.arguments or scope in ("public", "admin", "models:read") or rule.websocket:
            continue
        (argument,) = rule.arguments - {"item_id"}
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            body = {} if method == "POST" else None
            path = re.sub(r"<[^>]+>", "{}", rule.rule.replace("<item_id>", item))
            theirs, nobodys = (bob.request(method, path.format(each), json=body) for each in ids[argument])
            # A chat's stop is done if nothing of it runs.
            fine = (200,) if rule.rule.endswith("/stop") else (204, 404)
            assert theirs.status_code == nobodys.status_code in fine, (method, rule.rule, theirs.text)
            assert theirs.text.replace(ids[argument][0], ids[argument][1]) == nobodys.text
            assert "secret" not in theirs.text
            tried.add(rule.rule)
    assert len(tried) >= 27
    assert stored(guarded.redis.link) == before
    alice.delete(f"/webhooks/{webhook}")
