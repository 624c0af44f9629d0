"""A job with a long text: sent in pieces, read as they are sent, and the same as if it had been sent whole."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest

from spool.errors import JobGone
from spool.jobs.job import Job, Status
from spool.jobs.store import TEXT_PIECE_BYTES
from spool.keys import job as job_key
from tests.by_hand import HandWorker, store_of, submit
from tests.stack import Stack
from web.native.job_document import job_document, job_pieces

QUEUED = Job("j0-00000000000000000000000000", Status.QUEUED, "alice", "demo", 1795253400.123, 1795257000.123)
LONG = 'a"\\\n\u0007ä€😀' * 20_000


@pytest.fixture
def long_job(guarded: Stack, worker: HandWorker) -> str:
    """A job of alice's that has ended, with 300 KB of text that JSON escapes and UTF-8 has several bytes for."""
    job: str = submit(guarded.redis.link).id
    claim = worker.take_job(job)
    for start in range(0, len(LONG), 10_000):
        worker.say(claim, LONG[start : start + 10_000])
    worker.finish(claim)
    return job


def test_poll(long_job: str, alice: httpx.Client) -> None:
    """A poll has all of the text; the same poll again is not modified."""
    answer = alice.get(f"/jobs/{long_job}")
    assert answer.json()["text"] == LONG
    assert answer.headers["Content-Type"] == "application/json"
    again = alice.get(f"/jobs/{long_job}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", answer.headers["ETag"])
    assert alice.head(f"/jobs/{long_job}").status_code == 200
    assert alice.post(f"/jobs/{long_job}/cancel").json() == answer.json()


def test_results(alice: httpx.Client, worker: HandWorker) -> None:
    """The results of a batch have one line for each job that has ended, long or short, with all of its text."""
    batch = alice.post("/batches", json=[{"prompt": "x"}] * 3).json()["id"]
    jobs = [one["id"] for one in alice.get("/jobs", params={"batch": batch}).json()["jobs"]]
    for job, text in zip(reversed(jobs), (LONG, "", "short"), strict=True):
        claim = worker.take_job(job)
        for start in range(0, len(text), 10_000):
            worker.say(claim, text[start : start + 10_000])
        worker.finish(claim)
    lines = alice.get(f"/batches/{batch}/results").content.split(b"\n")
    assert [json.loads(line)["text"] for line in lines[:-1]] == [LONG, "", "short"]
    assert lines[-1] == b""


@pytest.mark.parametrize("bytes_of_text", range(1, 25))
def test_beginning_that_ends_anywhere(guarded: Stack, long_job: str, bytes_of_text: int) -> None:
    """Wherever the beginning is cut, also within a character, the document is whole and right."""
    store = store_of(guarded.redis.link)
    job = store.look(long_job, "alice", with_text=True, text_bytes=bytes_of_text)
    assert json.loads(b"".join(job_pieces(store, job)))["text"] == LONG


def test_pieces_are_read_as_they_are_taken(guarded: Stack, long_job: str) -> None:
    """Not much more than a piece is read before it is asked for; text that is there no more ends the document."""
    link, store = guarded.redis.link, store_of(guarded.redis.link)
    job = store.look(long_job, "alice", with_text=True, text_bytes=TEXT_PIECE_BYTES)
    pieces = job_pieces(store, job)
    assert len(next(pieces)) < 2 * TEXT_PIECE_BYTES
    assert len(next(pieces)) < 2 * TEXT_PIECE_BYTES
    link.call("HSET", job_key(long_job), "attempt_first", 77)
    with pytest.raises(JobGone):
        next(pieces)
    link.call("DEL", f"{job_key(long_job)}:text")
    with pytest.raises(JobGone):
        list(job_pieces(store, job))


def test_job_as_the_api_shows_it() -> None:
    """The contract's fields are there, null where not yet known, times as RFC 3339."""
    shown = job_document(replace(QUEUED, queue_position=3, text="so far"))
    assert (shown["created_at"], shown["started_at"], shown["error"]) == ("2026-11-21T09:30:00.123Z", None, None)
    assert (shown["queue_position"], shown["text"]) == (3, "so far")
    assert shown["urls"]["stream"] == f"/jobs/{QUEUED.id}/stream"
    contract = {"id", "status", "model", "owner", "created_at", "started_at", "ended_at", "attempt", "last_entry"}
    assert contract | {"queue_position", "text", "usage", "error", "metadata", "urls"} <= shown.keys()


def test_job_without_its_text() -> None:
    """In lists a job has no text."""
    assert "text" not in job_document(QUEUED, with_text=False)


def test_cancel_request_shows_while_the_job_runs() -> None:
    """When the cancel was asked for is shown until the job has ended."""
    cancelled = replace(QUEUED, status=Status.CANCELLED, cancel_requested_at=1795253400.5)
    running = job_document(replace(cancelled, status=Status.RUNNING))
    assert running["cancel_requested_at"] == "2026-11-21T09:30:00.500Z"
    assert job_document(cancelled)["cancel_requested_at"] is None


def test_links_stand_before_the_text(guarded: Stack, long_job: str) -> None:
    """The text stays the last member, and whole."""
    store = store_of(guarded.redis.link)
    job = store.look(long_job, "alice", with_text=True, text_bytes=TEXT_PIECE_BYTES)
    document = json.loads(b"".join(job_pieces(store, job, {"stream": "/s", "expires_at": "t"})))
    assert document["links"] == {"stream": "/s", "expires_at": "t"}
    assert (list(document)[-1], document["text"]) == ("text", LONG)
