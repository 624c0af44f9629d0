"""Each owner has jobs, responses and chats that no other owner sees, on every web and every surface."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import websocket
from openai import OpenAI

from tests.compatible.chats import asked, begun
from tests.stack import Stack, running_stack, wait_for
from tests.web.problem_shape import assert_problem

LONG = {"prompt": "long", "params": {"tokens": 5000, "rate": 20}}
FAST = {"tokens": 2, "rate": 0, "first_token_s": 0}
SAID = [{"role": "user", "content": "x"}]
RUN = {"threadId": "t", "runId": "r", "messages": SAID, "forwardedProps": {"params": FAST}}


@pytest.fixture(scope="module")
def owned(short_dir: Path) -> Iterator[Stack]:
    """A stack with two owners."""
    directory = short_dir / "owned"
    directory.mkdir()
    with running_stack(directory, workers=1, API_KEYS="alice=alice-secret,bob=bob-secret") as running:
        yield running


def test_jobs(owned: Stack) -> None:
    """Lists hold the caller's own jobs; a key decides whose those are, on every web."""
    alice = {"Authorization": "Bearer alice-secret"}
    bob = {"Authorization": "Bearer bob-secret"}
    job = owned.client(headers=alice).post("/jobs", json=LONG).json()
    assert job["owner"] == "alice"
    assert [j["id"] for j in owned.client(1, headers=alice).get("/jobs").json()["jobs"]] == [job["id"]]
    assert owned.client(1, headers=bob).get("/jobs").json()["jobs"] == []
    missing = owned.client(1, headers=bob).get("/jobs/j0-00000000000000000000000000")
    for call in ("", "/entries", "/stream"):
        answer = owned.client(1, headers=bob).get(f"/jobs/{job['id']}{call}")
        assert (answer.status_code, answer.content) == (404, missing.content)
    assert owned.client(1, headers=bob).post(f"/jobs/{job['id']}/cancel").status_code == 404
    assert owned.client(1, headers=bob).delete(f"/jobs/{job['id']}").status_code == 404
    assert owned.client(1).get(f"/jobs/{job['id']}").status_code == 401
    assert owned.client(headers=alice).post(f"/jobs/{job['id']}/cancel").status_code == 200


def test_responses(owned: Stack) -> None:
    """The SDK's key is the owner's credential; without a valid one there is nothing."""
    base_url = f"{owned.webs[0].url}/v1"
    with OpenAI(base_url=base_url, api_key="wrong") as nobody, pytest.raises(openai.AuthenticationError):
        nobody.models.list()
    with (
        OpenAI(base_url=base_url, api_key="alice-secret") as alice,
        OpenAI(base_url=base_url, api_key="bob-secret") as bob,
    ):
        response = alice.responses.create(model="demo", input="mine", extra_body={"tokens": 2, "rate": 0})
        assert alice.responses.retrieve(response.id).id == response.id
        for call in (bob.responses.retrieve, bob.responses.cancel, bob.responses.delete):
            with pytest.raises(openai.NotFoundError):
                call(response.id)
        with pytest.raises(openai.NotFoundError):
            bob.responses.create(model="demo", input="and?", previous_response_id=response.id)


def test_chats(owned: Stack) -> None:
    """A chat of the same id is another one for another owner, who can neither resume nor stop it."""
    alice, bob = (owned.client(headers={"Authorization": f"Bearer {name}-secret"}) for name in ("alice", "bob"))
    chat = "chat/of-alice"
    job = begun(alice, asked(chat, {"tokens": 5000, "rate": 40}))
    assert bob.get(f"/ai/chat/{chat}/stream").status_code == 204
    bob.post(f"/ai/chat/{chat}/stop")
    assert alice.get(f"/jobs/{job}").json()["cancel_requested_at"] is None
    assert_problem(owned.client().get(f"/ai/chat/{chat}/stream"), 401)
    alice.post(f"/ai/chat/{chat}/stop")
    wait_for(lambda: alice.get(f"/jobs/{job}").json()["status"] == "cancelled", "it is cancelled")


def _called(client: httpx.Client, tool: str, job: str) -> httpx.Response:
    params = {"name": tool, "arguments": {"job": job}}
    return client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def _response(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post("/v1/responses", json={"model": "demo", "input": "x", **FAST, **fields})


def _failed_batch(client: httpx.Client, file: str) -> httpx.Response:
    asked = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    path = f"/v1/batches/{client.post('/v1/batches', json=asked).json()['id']}"
    wait_for(lambda: client.get(path).json()["status"] == "failed", "the batch fails")
    return httpx.Response(404, json=client.get(path).json()["errors"])


REFERENCES: dict[str, Callable[[httpx.Client, str, str], httpx.Response]] = {
    "mcp get": lambda client, job, _: _called(client, "get_job", job),
    "mcp cancel": lambda client, job, _: _called(client, "cancel_job", job),
    "agui": lambda client, job, _: client.post("/agui", json=RUN, headers={"Last-Event-ID": f"{job}/1"}),
    "workflow": lambda client, job, _: client.get(f"/ai/workflow/{job}/stream"),
    "continue_from": lambda client, job, _: client.post("/jobs", json={"prompt": "x", "continue_from": job}),
    "previous_response_id": lambda client, job, _: _response(client, previous_response_id=f"resp_{job}"),
    "file of a batch": lambda client, _, file: _failed_batch(client, file),
    "response over a socket": lambda client, job, _: _over_socket(client, f"resp_{job}"),
}
"""Calls that name a job or a file in another place than the path of a route of its own surface."""


def _over_socket(client: httpx.Client, response_id: str) -> httpx.Response:
    url = str(client.base_url).replace("http://", "ws://").rstrip("/") + "/v1/responses"
    header = {"Authorization": client.headers["Authorization"]}
    socket = websocket.create_connection(url, header=header, timeout=30)
    try:
        asked = {"type": "response.create", "model": "demo", "input": "x", "previous_response_id": response_id}
        socket.send(json.dumps(asked))
        error = json.loads(socket.recv())
        return httpx.Response(error["status"], json=error)
    finally:
        socket.shutdown()


@pytest.fixture(scope="module")
def mine(owned: Stack) -> tuple[str, str]:
    """A run of AG-UI, and a file, both alice's."""
    alice = owned.client(headers={"Authorization": "Bearer alice-secret"})
    job = alice.post("/agui", json=RUN).headers["X-Spool-Job"]
    form = {"files": {"file": ("in.jsonl", b"{}")}, "data": {"purpose": "batch"}}
    return job, alice.post("/v1/files", **form).json()["id"]


@pytest.mark.parametrize("call", REFERENCES)
def test_reference_to_what_another_owner_has(owned: Stack, mine: tuple[str, str], call: str) -> None:
    """A job or file of another owner gets the answer of one that does not exist, wherever it is named."""
    bob = owned.client(1, headers={"Authorization": "Bearer bob-secret"})
    job, file = mine
    unknown = ("j0-" + "0" * 26, "file-" + "0" * (len(file) - 5))
    theirs, nothing = REFERENCES[call](bob, job, file), REFERENCES[call](bob, *unknown)
    assert theirs.status_code == nothing.status_code
    assert theirs.text.replace(job, unknown[0]).replace(file, unknown[1]) == nothing.text
    # MCP answers a call that fails with 200 and an error in its result.
    assert theirs.status_code in (400, 404, 422) or theirs.json()["result"]["isError"], theirs.text


def test_conversation_of_another_owner(owned: Stack) -> None:
    """A response in another owner's conversation gets the answer of one that does not exist."""
    alice, bob = (owned.client(headers={"Authorization": f"Bearer {name}-secret"}) for name in ("alice", "bob"))
    theirs, unknown = alice.post("/v1/conversations", json={}).json()["id"], "conv_" + "0" * 32
    answers = [_response(bob, conversation=conversation) for conversation in (theirs, unknown)]
    assert [answer.status_code for answer in answers] == [404, 404], answers[0].text
    assert answers[0].text.replace(theirs, unknown) == answers[1].text
    assert alice.get(f"/v1/conversations/{theirs}/items").json()["data"] == []


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "jobs": ("/jobs", {"prompt": "x", "params": FAST}),
    "responses": ("/v1/responses", {"model": "demo", "input": "x", **FAST}),
    "compact": ("/v1/responses/compact", {"model": "demo", "input": "x", **FAST}),
    "chat completions": ("/v1/chat/completions", {"model": "demo", "messages": SAID, **FAST}),
    "completions": ("/v1/completions", {"model": "demo", "prompt": "x", **FAST}),
    "embeddings": ("/v1/embeddings", {"model": "demo", "input": "x"}),
    "images": ("/v1/images/generations", {"model": "demo", "prompt": "x"}),
    "messages": ("/v1/messages", {"model": "demo", "max_tokens": 2, "messages": SAID, **FAST}),
    "ollama chat": ("/api/chat", {"model": "demo", "messages": SAID, "stream": False, "options": {"num_predict": 2}}),
    "ollama generate": ("/api/generate", {"model": "demo", "prompt": "x", "options": {"num_predict": 2}}),
    "agui": ("/agui", {"threadId": "t", "runId": "same", "messages": SAID, "forwardedProps": {"params": FAST}}),
    "ai chat": ("/ai/chat", asked("same-chat", FAST)),
    "workflow": ("/ai/workflow", asked("same-workflow", FAST)),
}


@pytest.mark.parametrize("surface", REQUESTS)
def test_same_request_of_another_owner(owned: Stack, surface: str) -> None:
    """A request joins the job of its owner's first try; the same request of another owner is another job."""
    path, body = REQUESTS[surface]
    headers = {"Idempotency-Key": surface, "x-stainless-retry-count": "1", "X-Claude-Code-Session-Id": "same"}

    def job_of(owner: str) -> str:
        client = owned.client(headers={"Authorization": f"Bearer {owner}-secret"})
        answer = client.post(path, json=body, headers=headers)
        assert answer.status_code in (200, 202), answer.text
        job: str = answer.headers["Location"].rpartition("/")[2].removeprefix("resp_")
        assert client.get(f"/jobs/{job}").json()["owner"] == owner
        return job

    assert job_of("alice") == job_of("alice") != job_of("bob")
