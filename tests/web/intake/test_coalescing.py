"""The field ``coalesce`` of a submit: what a job becomes by it, and what holds where nothing is said."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.stack import Stack

BATCH = {"ms": 1000, "chars": 1000, "sentence_end": False}
SAID: list[tuple[Any, Any]] = [
    (None, None),
    (False, None),
    ({}, BATCH),
    ({"ms": 0}, None),
    ({"ms": 0, "chars": 5}, None),
    ({"ms": 10_000, "chars": 8192, "sentence_end": True}, {"ms": 10_000, "chars": 8192, "sentence_end": True}),
    ({"ms": 1, "chars": 1}, {"ms": 1, "chars": 1, "sentence_end": False}),
    ({"sentence_end": True}, {**BATCH, "sentence_end": True}),
]


def submitted(client: httpx.Client, **fields: Any) -> Any:
    """What a job is shown to do, also when it is asked for again."""
    job = client.post("/jobs", json={"prompt": "x", **fields}).json()
    assert client.get(f"/jobs/{job['id']}").json()["coalesce"] == job["coalesce"]
    return job["coalesce"]


def in_batch(client: httpx.Client, **fields: Any) -> Any:
    """What a batch's only job is shown to do."""
    batch = client.post("/batches", json=[{"prompt": "x", **fields}]).json()["id"]
    return client.get("/jobs", params={"batch": batch}).json()["jobs"][0]["coalesce"]


@pytest.mark.parametrize(("said", "shown"), SAID, ids=repr)
def test_what_is_said_holds(alice: httpx.Client, open_web: Stack, said: Any, shown: Any) -> None:
    """What the caller says holds for a single job and in a batch, whatever the operator's defaults."""
    for client in (alice, open_web.client()):
        assert submitted(client, coalesce=said) == shown
        assert in_batch(client, coalesce=said) == shown


def test_defaults(alice: httpx.Client) -> None:
    """Where nothing is said, every piece of a job is an entry, and those of a batch's jobs are put together, whatever
    their priority."""
    assert submitted(alice) is None
    assert submitted(alice, priority="batch") is None
    assert in_batch(alice) == BATCH
    assert in_batch(alice, priority="interactive") == BATCH


def test_defaults_of_the_operator(open_web: Stack) -> None:
    """The operator's settings hold for jobs and batches that say nothing, and never for the compatible surfaces, whose
    clients cannot ask for anything else."""
    client = open_web.client()
    assert submitted(client) == {**BATCH, "ms": 200}
    assert in_batch(client) is None
    answer = client.post("/v1/responses", json={"model": "demo", "input": "x", "background": True})
    assert client.get(f"/jobs/{answer.headers['X-Spool-Job']}").json()["coalesce"] is None


def test_openapi_describes_it(alice: httpx.Client) -> None:
    """The document has the field with its limits, and what may stand in its place."""
    submission = alice.get("/openapi.json").json()["components"]["schemas"]["Submission"]
    field = submission["properties"]["coalesce"]
    assert {"const": False, "type": "boolean"} in field["anyOf"]
    assert {"type": "null"} in field["anyOf"]
    assert (
        alice.get("/openapi.json").json()["components"]["schemas"]["Coalesce"]["properties"]["ms"]["maximum"] == 10_000
    )
    assert "entry" in field["description"]
