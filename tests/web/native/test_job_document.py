"""A job with a long text: sent in pieces, read as they are sent, and the same as if it had been sent whole."""

from __future__ import annotations

import json

import httpx
import pytest

from spool.errors import JobGone
from spool.jobs.store import TEXT_PIECE_BYTES
from spool.keys import job as job_key
from tests.by_hand import HandWorker, store_of, submit
from tests.stack import Stack
from web.native.job_document import job_pieces

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
