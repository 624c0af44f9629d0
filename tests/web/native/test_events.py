"""``GET /events``: the caller's events on each transport."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from spool.keys import prefix
from tests.by_hand import HandWorker
from tests.stack import Stack
from tests.web.conftest import ADMIN
from tests.web.problem_shape import assert_problem

NDJSON, SSE = {"Accept": "application/x-ndjson"}, {"Accept": "text/event-stream"}
JSON = {"Accept": "application/json"}


@pytest.fixture
def begin(alice: httpx.Client) -> int:
    """The cursor of now, from which alice's events are written."""
    return int(alice.get("/events", headers=JSON, params={"wait": 0}).json()["next"])


def submitted(client: httpx.Client, **fields: Any) -> str:
    """The id of a new job."""
    return str(client.post("/jobs", json={"prompt": "x", **fields}).json()["id"])


def polled(client: httpx.Client, after: int | str, **params: Any) -> dict[str, Any]:
    """The events after a cursor, without a wait."""
    answer: dict[str, Any] = client.get("/events", headers=JSON, params={"after": after, "wait": 0, **params}).json()
    return answer


def documents(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The messages of a stream of lines or events."""
    for line in lines:
        data = line.removeprefix("data: ").strip()
        if data.startswith("{"):
            yield json.loads(data)


@pytest.mark.parametrize("headers", [NDJSON, SSE], ids=["ndjson", "sse"])
def test_stream_has_each_change_and_no_event_of_others(
    alice: httpx.Client, bob: httpx.Client, worker: HandWorker, headers: dict[str, str]
) -> None:
    """A stream begins with the cursor of now. Each change of the caller's jobs comes as it happens, with the document
    that the job's own URL gives; jobs of another owner do not."""
    with alice.stream("GET", "/events", headers=headers) as answer:
        messages = documents(answer.iter_lines())
        attached = next(messages)
        submitted(bob)
        job = submitted(alice, metadata={"k": "v"})
        worker.finish(worker.take_job(job))
        # The worker may also meet jobs that other tests have left in the queue.
        found: list[dict[str, Any]] = []
        while not found or found[-1]["kind"] != "job.succeeded":
            found.append(next(messages))
    assert (attached["type"], attached["after"]) == ("attached", attached["last"])
    assert [event["id"] for event in found] == [attached["after"] + n for n in range(1, len(found) + 1)]
    assert {event["job"]["owner"] for event in found} == {"alice"}
    its = [event["kind"] for event in found if event["job"]["id"] == job]
    assert its == ["job.queued", "job.started", "job.succeeded"]
    shown = alice.get(f"/jobs/{job}").json()
    shown.pop("text")
    assert found[-1]["job"] == shown


def test_reconnect_resumes_after_last_event_id(alice: httpx.Client, begin: int, worker: HandWorker) -> None:
    """Events that happened while the client was away come after its cursor: by header, argument, or as the last N."""
    jobs = [submitted(alice) for _ in range(3)]
    for job in jobs:
        worker.take_job(job)
    with alice.stream("GET", "/events?after=0", headers={**SSE, "Last-Event-ID": str(begin + 1)}) as answer:
        messages = documents(answer.iter_lines())
        next(messages)
        found = [next(messages) for _ in range(5)]
    assert [event["id"] for event in found] == [begin + n for n in range(2, 7)]
    assert polled(alice, begin + 1)["entries"] == found
    assert polled(alice, -2)["entries"] == found[-2:]
    assert polled(alice, begin + 1, limit=2)["next"] == begin + 3


def test_events_are_narrowed(alice: httpx.Client, begin: int, worker: HandWorker) -> None:
    """With a conversation or a batch, only its events come; the cursor passes the others."""
    submitted(alice)
    talk = submitted(alice, conversation={"id": "talk"})
    batch = str(alice.post("/batches", json=[{"prompt": "x"}]).json()["id"])
    answer = polled(alice, begin, conversation="talk")
    assert ([event["job"]["id"] for event in answer["entries"]], answer["next"]) == ([talk], begin + 3)
    answer = polled(alice, begin, batch=batch)
    assert [(event["kind"], event["batch"]["id"]) for event in answer["entries"]] == [("batch.created", batch)]
    with alice.stream("GET", f"/events?after={begin}&conversation=talk", headers=NDJSON) as stream:
        messages = documents(stream.iter_lines())
        next(messages)
        assert next(messages)["job"]["id"] == talk
        submitted(alice)
        worker.take_job(talk)
        assert next(messages)["kind"] == "job.started"


def test_cursor_of_events_that_are_gone_is_a_gap(alice: httpx.Client, begin: int, guarded: Stack) -> None:
    """A client that comes back after its events have expired learns that some are missing, then gets new ones."""
    submitted(alice)
    key = f"{prefix(0)}events:alice"
    guarded.redis.link.call("DEL", key, f"{key}:log")
    polled(alice, begin)
    job = submitted(alice)
    answer = polled(alice, begin)
    assert answer["gap"]["requested"] == begin + 1
    assert [event["job"]["id"] for event in answer["entries"] or polled(alice, answer["next"])["entries"]] == [job]


def test_damaged_event_has_the_id_alone(alice: httpx.Client, begin: int, guarded: Stack) -> None:
    """An event whose record cannot be decoded names its job and breaks no stream."""
    entry = b'{"id":%d,"kind":"job.queued","at":"x","job":"j0-x","record":{"id":7}}' % (begin + 1)
    key = f"{prefix(0)}events:alice"
    guarded.redis.link.call("XADD", f"{key}:log", f"{begin + 1}-0", "entry", entry)
    guarded.redis.link.call("HSET", key, "last", begin + 1)
    assert polled(alice, begin)["entries"][0]["job"] == {"id": "j0-x"}


def test_batches_need_their_scope(alice: httpx.Client, guarded: Stack, begin: int) -> None:
    """A key without the scope of batches gets the events of jobs, and none of a batch."""
    with guarded.client(headers={"Authorization": f"Bearer {ADMIN}"}) as admin:
        key = admin.post("/admin/keys", json={"owner": "alice", "scopes": ["jobs:read"]}).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert_problem(alice.get("/batches", headers=headers), 403)
    batch = str(alice.post("/batches", json=[{"prompt": "x"}]).json()["id"])
    job = submitted(alice)
    assert polled(alice, begin)["entries"][0]["batch"]["id"] == batch
    params: dict[str, Any] = {"after": begin, "wait": 0}
    answer = alice.get("/events", headers={**JSON, **headers}, params=params).json()
    assert ([event["job"]["id"] for event in answer["entries"]], answer["next"]) == ([job], begin + 2)
    with alice.stream("GET", f"/events?after={begin}", headers={**NDJSON, **headers}) as stream:
        messages = documents(stream.iter_lines())
        next(messages)
        assert next(messages)["job"]["id"] == job


def test_what_events_refuse(alice: httpx.Client) -> None:
    """A cursor that is none, another media type, and a link of one job are refused."""
    assert_problem(alice.get("/events?after=x"), 400)
    assert_problem(alice.get("/events", headers={"Accept": "image/png"}), 406)
    shown = alice.post("/tokens", json={"scope": {"job": submitted(alice)}}).json()["token"]
    assert_problem(httpx.get(alice.base_url.join("/events"), params={"token": shown}), 403)
