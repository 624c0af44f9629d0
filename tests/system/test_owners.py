"""Each owner has jobs, responses and chats that no other owner sees, on every web and every surface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.compatible.chats import asked, begun
from tests.stack import Stack, running_stack, wait_for
from tests.web.problem_shape import assert_problem

LONG = {"prompt": "long", "params": {"tokens": 5000, "rate": 20}}


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
