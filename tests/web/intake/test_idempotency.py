"""Idempotency-Key: one job for one key, whoever asks how often."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx
import pytest

from tests.stack import Stack
from tests.web.problem_shape import assert_problem, stored

_numbers = count()


@pytest.fixture
def headers() -> dict[str, str]:
    """An Idempotency-Key that no other test uses."""
    return {"Idempotency-Key": f"key {next(_numbers)}"}


def test_same_key_and_body(alice: httpx.Client, headers: dict[str, str]) -> None:
    """The same key and body give the same job, and say so."""
    first = alice.post("/jobs", json={"prompt": "x", "ttl_s": 60}, headers=headers)
    again = alice.post("/jobs", json={"prompt": "x", "ttl_s": 60}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 200)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert again.json()["id"] == first.json()["id"]


@pytest.mark.parametrize(
    "same", [b'{"ttl_s":60,"prompt":"x"}', b'{ "prompt" : "\\u0078" , "ttl_s":60 }'], ids=["order", "spaces"]
)
def test_same_key_and_body_written_otherwise(alice: httpx.Client, headers: dict[str, str], same: bytes) -> None:
    """Spaces, escapes and the order of names are not what makes a body another one."""
    first = alice.post("/jobs", json={"prompt": "x", "ttl_s": 60}, headers=headers)
    again = alice.post("/jobs", content=same, headers={**headers, "Content-Type": "application/json"})
    assert again.json()["id"] == first.json()["id"]


def test_same_key_and_another_body(guarded: Stack, alice: httpx.Client, headers: dict[str, str]) -> None:
    """Another body under the same key is refused with the id of the job that is there."""
    first = alice.post("/jobs", json={"prompt": "x"}, headers=headers).json()
    before = stored(guarded.redis.link)
    document = assert_problem(alice.post("/jobs", json={"prompt": "y"}, headers=headers), 422)
    assert document["job"] == first["id"]
    assert stored(guarded.redis.link) == before


def test_same_key_of_another_owner(alice: httpx.Client, bob: httpx.Client, headers: dict[str, str]) -> None:
    """A key is its owner's alone: another owner's body, and job, is another one."""
    mine = alice.post("/jobs", json={"prompt": "x"}, headers=headers)
    theirs = bob.post("/jobs", json={"prompt": "y"}, headers=headers)
    assert theirs.status_code == 202
    assert theirs.json()["id"] != mine.json()["id"]


def test_same_key_at_the_same_time(alice: httpx.Client, headers: dict[str, str]) -> None:
    """Of submits at the same time one makes the job, and all get it."""

    def submit(_: int) -> httpx.Response:
        return alice.post("/jobs", json={"prompt": "x"}, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(submit, range(16)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [202]


def test_same_key_after_the_end(alice: httpx.Client, headers: dict[str, str]) -> None:
    """A key goes on meaning its job when that has ended."""
    job = alice.post("/jobs", json={"prompt": "x"}, headers=headers).json()["id"]
    alice.post(f"/jobs/{job}/cancel")
    again = alice.post("/jobs", json={"prompt": "x"}, headers=headers)
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (200, job, "cancelled")


def test_key_of_a_submit_that_was_refused(alice: httpx.Client, headers: dict[str, str]) -> None:
    """A submit that was refused leaves its key unused."""
    assert_problem(alice.post("/jobs", json={"prompt": ""}, headers=headers), 422)
    assert alice.post("/jobs", json={"prompt": "x"}, headers=headers).status_code == 202


def test_replay_as_a_stream(alice: httpx.Client, headers: dict[str, str]) -> None:
    """A replay that asks for the stream gets that of the job that is there."""
    job = alice.post("/jobs", json={"prompt": "x"}, headers=headers).json()["id"]
    alice.post(f"/jobs/{job}/cancel")
    accept = {"Accept": "application/x-ndjson"}
    response = alice.post("/jobs", json={"prompt": "x"}, headers={**headers, **accept})
    assert response.headers["Idempotent-Replayed"] == "true"
    assert response.headers["Location"] == f"/jobs/{job}"
    assert '"kind":"cancelled"' in response.text


def test_batch_sent_twice(alice: httpx.Client, headers: dict[str, str]) -> None:
    """A batch that is sent again under its key is the same batch; another body under that key is refused."""
    first = alice.post("/batches", json=[{"prompt": "a"}, {"prompt": "b"}], headers=headers)
    again = alice.post("/batches", json=[{"prompt": "a"}, {"prompt": "b"}], headers=headers)
    other = alice.post("/batches", json=[{"prompt": "a"}], headers=headers)
    assert (first.status_code, again.status_code, again.headers["Idempotent-Replayed"]) == (202, 200, "true")
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Location"] == first.headers["Location"]
    assert_problem(other, 422)
    assert other.json()["batch"] == first.json()["id"]
