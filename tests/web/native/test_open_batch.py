"""Open batches over HTTP: opened by an object, lines in pieces, a seal."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from spool.keys import prefix
from tests.by_hand import HandWorker
from tests.stack import Stack
from tests.web.problem_shape import assert_problem

JSONL = {"Content-Type": "application/x-ndjson"}
OPEN = {"open": True}


def opened(client: httpx.Client, **fields: Any) -> str:
    """A new open batch; its id."""
    response = client.post("/batches", json=OPEN | fields)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def test_life_of_an_open_batch(alice: httpx.Client, guarded: Stack, worker: HandWorker) -> None:
    """Lines begin before the seal, its log has each once, and it ends after the seal."""
    batch = opened(alice, metadata={"of": "monday"}, completion_window="1h")
    shown = alice.get(f"/batches/{batch}").json()
    assert (shown["open"], shown["total"], shown["metadata"]) == (True, 0, {"of": "monday"})
    assert shown["expires_at"]
    first = alice.post(shown["urls"]["lines"], json=[{"prompt": "a", "custom_id": "one"}])
    assert (first.status_code, first.json()["first"], first.json()["count"]) == (200, 0, 1)
    body = gzip.compress(b'{"prompt":"b"}\n\n{"prompt":"c"}\n')
    second = alice.post(f"/batches/{batch}/lines", content=body, headers=JSONL | {"Content-Encoding": "gzip"})
    assert (second.json()["first"], second.json()["batch"]["total"]) == (1, 3)
    for job in guarded.redis.link.call("ZRANGE", f"{prefix(0)}batch:{batch}:flight:0", 0, -1):
        worker.finish(worker.take_job(job.decode()))
    assert not alice.get(f"/batches/{batch}").json()["ended"]
    sealed = alice.post(shown["urls"]["seal"])
    assert (sealed.json()["open"], sealed.json()["state"], "seal" in sealed.json()["urls"]) == (
        False,
        "completed",
        False,
    )
    lines = map(json.loads, alice.get(f"/batches/{batch}/results").text.splitlines())
    assert [line["batch_index"] for line in lines] == [0, 1, 2]


def test_repeated_requests_change_nothing(alice: httpx.Client) -> None:
    """The same key opens one batch and adds lines once, also after the seal; another body is a conflict."""
    headers = {"Idempotency-Key": "opened"}
    first, again = (alice.post("/batches", json=OPEN, headers=headers) for _ in range(2))
    batch = first.json()["id"]
    assert (first.status_code, again.status_code, again.json()["id"]) == (202, 200, batch)
    url, key = f"/batches/{batch}/lines", {"Idempotency-Key": "piece"}
    assert alice.post(url, json=[{"prompt": "a"}], headers=key).json()["batch"]["total"] == 1
    assert alice.post(f"/batches/{batch}/seal").status_code == 200
    repeated = alice.post(url, json=[{"prompt": "a"}], headers=key)
    assert (repeated.headers["Idempotent-Replayed"], repeated.json()["batch"]["total"]) == ("true", 1)
    assert_problem(alice.post(url, json=[{"prompt": "b"}], headers=key), 422)
    assert "Batch closed" in assert_problem(alice.post(url, json=[{"prompt": "c"}]), 409)["title"]
    assert alice.post(f"/batches/{batch}/seal").status_code == 200


def test_bad_lines_refuse_their_piece_or_are_results(alice: httpx.Client) -> None:
    """By default a bad line refuses the piece; with ``skip`` it is a result with its number."""
    body = b'{"prompt":"a"}\nnonsense\n'
    strict, lenient = opened(alice), opened(alice, on_bad_line="skip")
    assert_problem(alice.post(f"/batches/{strict}/lines", content=body, headers=JSONL), 422, "line 2")
    assert alice.get(f"/batches/{strict}").json()["total"] == 0
    alice.post(f"/batches/{lenient}/lines", json=[{"prompt": "a"}])
    added = alice.post(f"/batches/{lenient}/lines", content=body, headers=JSONL).json()
    assert (added["first"], added["count"]) == (1, 2)
    alice.post(f"/batches/{lenient}/cancel")
    results = [json.loads(line) for line in alice.get(f"/batches/{lenient}/results").text.splitlines()]
    assert {(one["batch_index"], (one["error"] or {}).get("code")) for one in results} == {
        (0, "batch_cancelled"),
        (1, "batch_cancelled"),
        (2, "invalid_json_line"),
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"metadata": {}}, "body"),
        ({"open": False}, "open"),
        (OPEN | {"more": 1}, "more"),
        (OPEN | {"on_bad_line": "fail"}, "on_bad_line"),
        (OPEN | {"completion_window": "31d"}, "completion_window"),
        (OPEN | {"metadata": {"a": 1}}, "metadata.a"),
        (OPEN | {"webhook": {"url": "x"}}, "webhook.url"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else value,
)
def test_object_that_opens_no_batch(alice: httpx.Client, body: dict[str, Any], field: str) -> None:
    """What an open batch cannot be is refused, with the field."""
    assert_problem(alice.post("/batches", json=body), 422, field)


@pytest.mark.parametrize(
    ("metadata", "status"), [('{"a":"b"}', 202), ("{}", 202), ("x", 422), ('{"a":1}', 422), ("[]", 422)]
)
def test_metadata_of_a_batch(alice: httpx.Client, metadata: str, status: int) -> None:
    """A batch of lines has the metadata of its query, which is a JSON object of texts."""
    answer = alice.post("/batches", params={"metadata": metadata}, json=[{"prompt": "x"}])
    assert answer.status_code == status
    if status == 202:
        assert answer.json()["metadata"] == json.loads(metadata)
