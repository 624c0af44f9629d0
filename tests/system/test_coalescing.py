"""Jobs whose text is put together into larger entries, through real webs, workers and Redis: the same text and the same
guarantees, with fewer entries; and what becomes of text that is held back when something ends or dies."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.by_hand import rows_of
from tests.faults.checker import golden
from tests.faults.jobs import Jobs
from tests.readers import READERS, read_plain_answer, read_text, read_text_websocket
from tests.stack import Stack

HELD_LONG = {"ms": 10_000, "chars": 8192}
HOLDS = {"tokens": 30, "rate": 2, "first_token_s": 0, "reasoning": 1}
"""The reasoning is written when the first token comes, which is held then: so a test sees that it is."""
PROMPT = "Tell me about 糸 and نخ,\nand 🧵."


@pytest.fixture
def jobs(stack: Stack) -> Jobs:
    """Jobs on the stack that all share."""
    return Jobs(stack)


def whole_log(stack: Stack, job: str) -> list[bytes]:
    """The log as it is in Redis once the job has ended."""
    read_plain_answer(stack.webs[0].url, job)
    return [raw for _id, raw in rows_of(stack.redis.link, job)]


def shape(log: list[bytes]) -> list[tuple[str, int]]:
    """Kind of each entry, and how many characters it has."""
    return [(entry["kind"], len(entry.get("text", ""))) for entry in map(json.loads, log)]


@pytest.mark.parametrize(
    "how", [{"ms": 50}, {"ms": 10_000, "chars": 100}, {"ms": 10_000, "sentence_end": True}], ids=lambda how: str(how)
)
def test_same_text_in_fewer_entries(stack: Stack, jobs: Jobs, how: dict[str, Any]) -> None:
    """Every transport delivers the entries that are stored, from every web, from the beginning and from the middle;
    there are fewer of them, their text is that of a job whose tokens are entries, and so is the usage."""
    params: dict[str, Any] = {"tokens": 150, "rate": 300, "first_token_s": 0.1, "reasoning": 5}
    job = jobs.submit(PROMPT, fields={"coalesce": how}, **params)
    with ThreadPoolExecutor(len(READERS)) as pool:
        readings = list(pool.map(lambda at: READERS[at[1]](stack.webs[at[0] % 2].url, job), enumerate(READERS)))
    log = whole_log(stack, job)
    text = golden(PROMPT, params)
    for reading in readings:
        assert (reading.raw, reading.ended, reading.text) == (log, True, text)
    for web in stack.webs:
        assert read_text(web.url, job) == read_text_websocket(web.url, job) == read_plain_answer(web.url, job) == text
    for number, read in enumerate(READERS.values(), 1):  # each at the web that it did not read from before
        assert read(stack.webs[number % 2].url, job, after=len(log) // 2).raw == log[len(log) // 2 :]
    kinds = jobs.kinds(job)
    assert kinds == ["started", "reasoning", "token", "usage", "done"]
    assert len(log) < 50
    assert stack.client().get(f"/jobs/{job}").json()["usage"]["output_tokens"] == 150
    assert jobs.violations() == []


def test_held_text_of_a_silent_model(jobs: Jobs) -> None:
    """Text is there when its time is up, although the model says nothing more for long."""
    job = jobs.submit(fields={"coalesce": {"ms": 200}}, tokens=2, rate=0.01, first_token_s=0)
    jobs.wait_for_entries([job], 2)
    assert jobs.kinds(job) == ["started", "token"]
    jobs.cancel(job)
    jobs.wait_for_end()
    assert jobs.violations() == []


def test_jobs_of_different_intervals(jobs: Jobs) -> None:
    """One worker holds many jobs' texts, each for its own time."""
    holds = {"tokens": 2, "rate": 0.01, "first_token_s": 0}
    began = time.monotonic()
    slow = [jobs.submit(fields={"coalesce": HELD_LONG}, **holds) for _ in range(10)]
    quick = [jobs.submit(fields={"coalesce": {"ms": 100 + n}}, **holds) for n in range(30)]
    jobs.wait_for_entries(quick, 2)
    for job in slow + quick:
        jobs.cancel(job)
    jobs.wait_for_end()
    if time.monotonic() - began < HELD_LONG["ms"] / 1000:
        assert {tuple(jobs.kinds(job)) for job in slow} == {("started", "cancelled")}
    assert {tuple(jobs.kinds(job)) for job in quick} == {("started", "token", "cancelled")}


def test_cancel_drops_what_is_held(jobs: Jobs) -> None:
    """A cancel ends the log at once; text that nobody has seen is not written."""
    job = jobs.submit(fields={"coalesce": HELD_LONG}, **HOLDS)
    jobs.wait_for_entries([job], 2)
    jobs.cancel(job)
    jobs.wait_for_end()
    assert jobs.kinds(job) == ["started", "reasoning", "cancelled"]
    assert jobs.violations() == []


def test_failure_keeps_what_is_held(stack: Stack, jobs: Jobs) -> None:
    """What the model said before it failed is in the log before the failure."""
    job = jobs.submit(fields={"coalesce": HELD_LONG}, tokens=50, rate=200, fail_after=20)
    kinds = [kind for kind, _ in shape(whole_log(stack, job))]
    assert kinds == ["started", "token", "failed"]
    assert jobs.violations() == []


def test_batch_coalesces_unless_it_says_otherwise(stack: Stack, jobs: Jobs) -> None:
    """The jobs of a batch have few entries by default, and their results are the whole texts; a job of it that says so
    has an entry for each token."""
    params = {"tokens": 200, "rate": 0, "first_token_s": 0}
    items: list[dict[str, Any]] = [{"prompt": f"batch {number}", "params": params} for number in range(4)]
    items[3]["coalesce"] = False
    client = stack.client()
    batch = client.post("/batches", json=items).json()["id"]
    ids = [job["id"] for job in reversed(client.get("/jobs", params={"batch": batch}).json()["jobs"])]
    jobs.wait_for_end(ids)
    results = [json.loads(line) for line in client.get(f"/batches/{batch}/results").text.splitlines()]
    assert {(one["batch_index"], one["text"]) for one in results} == {
        (number, golden(item["prompt"], params)) for number, item in enumerate(items)
    }
    lengths = [len(jobs.log(job)) for job in ids]
    assert max(lengths[:3]) < 10
    assert lengths[3] == 203
