"""The log of a batch over HTTP: stream, long polling, results."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from spool.batches.line import job_id_of
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, new_job, store_of
from tests.stack import Stack
from tests.web.problem_shape import assert_problem

NDJSON = {"Accept": "application/x-ndjson"}


def entries_of(text: str) -> list[dict[str, Any]]:
    """The entries in lines of JSON."""
    return [entry for entry in map(json.loads, text.splitlines()) if "kind" in entry]


def test_log_on_every_transport(alice: httpx.Client, worker: HandWorker, ended: str) -> None:
    """The same entries come as events, lines, by long polling, and as results; a cursor skips what the client has."""
    listed = alice.get(f"/batches/{ended}/entries", params={"wait": 0}).json()
    assert [entry["content"] for entry in listed["entries"]] == ["answer 0", "answer 1"]
    assert (listed["next"], listed["ended"]) == (2, False)
    worker.finish(worker.take_job(job_id_of(ended, 2)))
    lines = entries_of(alice.get(f"/batches/{ended}/stream", headers=NDJSON).text)
    assert [entry["kind"] for entry in lines] == ["line", "line", "line", "done"]
    assert lines[:2] == listed["entries"]
    events = alice.get(f"/batches/{ended}/stream", headers={"Accept": "text/event-stream", "Last-Event-ID": "1"}).text
    data = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: ")]
    assert [entry for entry in data if "kind" in entry] == lines[1:]
    assert alice.get(f"/batches/{ended}/entries?after=3").json()["entries"] == lines[3:]
    results = [json.loads(line) for line in alice.get(f"/batches/{ended}/results?after=1").text.splitlines()]
    assert [(one["cursor"], one["custom_id"]) for one in results] == [(2, "c1"), (3, "c2")]
    done = alice.get(f"/batches/{ended}/stream?after=4", headers={"Accept": "text/event-stream"})
    assert done.status_code == 204


def test_stream_follows_the_batch(alice: httpx.Client, worker: HandWorker, ended: str) -> None:
    """A reader that stays gets the entry of a line when it ends, and the end."""
    with alice.stream("GET", f"/batches/{ended}/stream?after=1", headers=NDJSON) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["id"] == 2
        worker.finish(worker.take_job(job_id_of(ended, 2)))
        kinds = [json.loads(line)["kind"] for line in lines if "kind" in line]
    assert kinds == ["line", "done"]


def test_life_of_a_batch(alice: httpx.Client, ended: str) -> None:
    """A batch can be paused, resumed and cancelled, and deleted once it has ended."""
    assert_problem(alice.delete(f"/batches/{ended}"), 409)
    assert alice.post(f"/batches/{ended}/pause").json()["paused"]
    assert not alice.post(f"/batches/{ended}/resume").json()["paused"]
    cancelled = alice.post(f"/batches/{ended}/cancel").json()
    assert (cancelled["state"], cancelled["counts"]["succeeded"], cancelled["counts"]["cancelled"]) == (
        "cancelled",
        2,
        1,
    )
    assert_problem(alice.post(f"/batches/{ended}/pause"), 409)
    assert alice.delete(f"/batches/{ended}").status_code == 204
    assert_problem(alice.get(f"/batches/{ended}"), 404)


def test_bad_line_that_is_skipped(alice: httpx.Client) -> None:
    """With ``on_bad_line=skip`` the others run; with ``fail`` the batch fails and names its lines."""
    items = [{"prompt": "x"}, {"prompt": ""}]
    skipped = alice.post("/batches?on_bad_line=skip", json=items).json()
    results = [json.loads(line) for line in alice.get(f"/batches/{skipped['id']}/results").text.splitlines()]
    assert [(one["batch_index"], one["status"], one["error"]["param"]) for one in results] == [(1, "failed", "prompt")]
    failed = alice.post("/batches?on_bad_line=fail", json=items).json()
    assert (failed["state"], failed["ended"], failed["total"]) == ("failed", True, 0)
    assert [(error["line"], error["param"]) for error in failed["errors"]] == [(2, "prompt")]


@pytest.mark.parametrize("window", ["0s", "31d", "soon", ""])
def test_window_that_is_none(alice: httpx.Client, window: str) -> None:
    """A completion window is a duration of up to thirty days."""
    asked = alice.post("/batches", params={"completion_window": window}, json=[{"prompt": "x"}])
    assert_problem(asked, 422, "completion_window")


def test_batch_of_an_older_version(guarded: Stack, alice: httpx.Client, worker: HandWorker) -> None:
    """A batch whose jobs an older version wrote ends, has its results by number, can be cancelled, and has no log."""
    link: RedisLink = guarded.redis.link
    store, batch = store_of(link), "b0-" + "e" * 26
    store.open_batch(batch, "alice", 2, ttl_s=60, timeout_s=60)
    jobs = [new_job(owner="alice", batch=batch, batch_index=n) for n in range(2)]
    store.submit_many(jobs, max_queued=100)
    worker.finish(worker.take_job(jobs[0].id))
    assert alice.post(f"/batches/{batch}/cancel").json()["ended"]
    results = [json.loads(line) for line in alice.get(f"/batches/{batch}/results?after=0").text.splitlines()]
    assert [one["id"] for one in results] == [job.id for job in jobs]
    assert len(alice.get(f"/batches/{batch}/results?after=1").text.splitlines()) == 1
    assert_problem(alice.get(f"/batches/{batch}/entries"), 409)
    assert alice.delete(f"/batches/{batch}").status_code == 204
