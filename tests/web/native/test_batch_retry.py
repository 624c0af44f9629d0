"""A retry of a batch: its lines that did not succeed, once."""

from __future__ import annotations

import httpx
import orjson

from tests.web.problem_shape import assert_problem

JSONL = {"Content-Type": "application/x-ndjson"}


def _cancelled(client: httpx.Client, body: bytes) -> str:
    batch: str = client.post("/batches?on_bad_line=skip", content=body, headers=JSONL).json()["id"]
    assert client.post(f"/batches/{batch}/cancel").json()["ended"]
    return batch


def test_retry_runs_what_did_not_succeed_once(alice: httpx.Client) -> None:
    """A retry has the valid lines with their names and numbers, and a second request gives the same batch."""
    body = b'{"prompt":"a"}\nnonsense\n{"prompt":"b","custom_id":"second"}'
    batch = _cancelled(alice, body)
    first, again = (alice.post(f"/batches/{batch}/retry") for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (
        first.headers["Location"]
        == again.headers["Location"]
        == f"/batches/{first.json()['id']}"
        != f"/batches/{batch}"
    )
    assert (first.json()["state"], first.json()["total"]) == ("in_progress", 2)
    alice.post(f"/batches/{first.json()['id']}/cancel")
    text = alice.get(f"/batches/{first.json()['id']}/results").text
    results = sorted(map(orjson.loads, text.splitlines()), key=lambda one: one["batch_index"])
    assert [(one["batch_index"], one.get("custom_id")) for one in results] == [(0, None), (2, "second")]


def test_retry_of_a_batch_that_runs_or_has_nothing_to_retry(alice: httpx.Client) -> None:
    """Both are 409, and no batch is created."""
    running = alice.post("/batches", json=[{"prompt": "x"}]).json()["id"]
    failed = alice.post("/batches?on_bad_line=fail", content=b"nonsense", headers=JSONL).json()["id"]
    before = alice.get("/batches").json()["batches"][0]["id"]
    assert_problem(alice.post(f"/batches/{running}/retry"), 409)
    assert "Nothing to retry" in assert_problem(alice.post(f"/batches/{failed}/retry"), 409)["title"]
    assert alice.get("/batches").json()["batches"][0]["id"] == before


def test_retry_keeps_what_the_batch_was_created_with(alice: httpx.Client) -> None:
    """The new batch has the metadata and the receiver of the first one."""
    opened = {"open": True, "metadata": {"of": "monday"}, "webhook": {"url": "https://a.example/x"}}
    batch = alice.post("/batches", json=opened).json()["id"]
    alice.post(f"/batches/{batch}/lines", json=[{"prompt": "x"}])
    alice.post(f"/batches/{batch}/cancel")
    again = alice.post(f"/batches/{batch}/retry").json()
    assert again["metadata"] == {"of": "monday"}
    alice.post(f"/batches/{again['id']}/cancel")
    listed = alice.get("/webhooks/deliveries").json()["deliveries"]
    assert {batch, again["id"]} <= {one["subject"] for one in listed}


def test_retry_of_another_owners_batch(alice: httpx.Client, bob: httpx.Client) -> None:
    """Another owner's batch is not there."""
    batch = _cancelled(alice, b'{"prompt":"a"}')
    assert_problem(bob.post(f"/batches/{batch}/retry"), 404)
