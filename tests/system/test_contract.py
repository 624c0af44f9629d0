"""One contract over every transport: the same entries, in the same order, with the same ids, from any web."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.by_hand import rows_of
from tests.readers import READERS, Reading, read_plain_answer, read_text, read_text_websocket
from tests.stack import Stack

PROMPT = "Tell me about 糸 and نخ, line\u2028separators\nand 🧵."


def submit(stack: Stack, web: int = 0, **params: Any) -> str:
    """A job for the demo; its id."""
    answer = stack.client(web).post("/jobs", json={"prompt": PROMPT, "params": params})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def stored(stack: Stack, job: str) -> list[bytes]:
    """The log as it is in Redis."""
    return [raw for _id, raw in rows_of(stack.redis.link, job)]


@pytest.fixture(scope="module")
def ended_job(stack: Stack) -> tuple[str, list[bytes]]:
    """A job that has ended, and its log."""
    job = submit(stack, tokens=40, rate=0, first_token_s=0, reasoning=5)
    READERS["sse"](stack.webs[0].url, job)
    return job, stored(stack, job)


def assert_is(reading: Reading, log: list[bytes], after: int = 0) -> None:
    """The reading is the log's entries after ``after``, byte for byte, and knows its end."""
    assert reading.raw == log[after:]
    assert reading.ids == list(range(after + 1, len(log) + 1))
    assert reading.ended
    assert not [other for other in reading.other if other["type"] == "gap"]


@pytest.mark.parametrize("transport", READERS)
def test_log_of_a_job_that_has_ended(stack: Stack, ended_job: tuple[str, list[bytes]], transport: str) -> None:
    """Every transport delivers exactly the stored entries, from every web."""
    job, log = ended_job
    for web in stack.webs:
        assert_is(READERS[transport](web.url, job), log)


@pytest.mark.parametrize("transport", READERS)
def test_resume_after_any_entry(stack: Stack, ended_job: tuple[str, list[bytes]], transport: str) -> None:
    """A reader that resumes after entry N gets the next entry, for every N, from another web than before."""
    job, log = ended_job
    urls = [web.url for web in stack.webs]
    with ThreadPoolExecutor(4) as pool:
        cursors = range(len(log))
        readings = pool.map(lambda n: READERS[transport](urls[n % 2], job, after=n), cursors)
        for cursor, reading in zip(cursors, readings, strict=True):
            assert_is(reading, log, after=cursor)


@pytest.mark.parametrize("transport", READERS)
def test_attach_at_any_point_of_a_running_job(stack: Stack, transport: str) -> None:
    """Readers that attach while it runs, cut themselves off anywhere and resume on the other web, miss nothing and
    get nothing twice."""
    job = submit(stack, tokens=150, rate=150, first_token_s=0.1)
    chance = random.Random(transport)
    with ThreadPoolExecutor(4) as pool:
        plans = [[chance.randint(1, 40) for _ in range(40)] for _ in range(4)]
        readings = list(pool.map(lambda plan: read_in_pieces(stack, transport, job, plan), plans))
    log = stored(stack, job)
    assert len(log) == 153
    for reading in readings:
        assert_is(reading, log)


def read_in_pieces(stack: Stack, transport: str, job: str, plan: list[int]) -> Reading:
    """Read by pieces of the planned sizes, each from another web than the one before."""
    whole = Reading()
    for number, size in enumerate(plan):
        cursor = whole.ids[-1] if whole.ids else 0
        piece = READERS[transport](stack.webs[number % 2].url, job, after=cursor, stop_after=size)
        whole.entries += piece.entries
        whole.raw += piece.raw
        whole.other += piece.other
        whole.ended = piece.ended
        if whole.ended:
            break
    return whole


def test_text_of_every_transport_is_the_same(stack: Stack) -> None:
    """The text is byte-equal whether it is put together from entries, streamed bare, or fetched when done."""
    job = submit(stack, tokens=150, rate=300)
    golden = read_plain_answer(stack.webs[1].url, job)
    assert "糸" in golden
    assert "\u2028" not in golden  # the demo quotes the prompt on one line
    for web in stack.webs:
        assert read_text(web.url, job) == golden
        assert read_text_websocket(web.url, job) == golden
        for read in READERS.values():
            assert read(web.url, job).text == golden


def test_bare_text_while_it_runs(stack: Stack) -> None:
    """The bare text of a running job, over HTTP and over a WebSocket, is its text when done."""
    job = submit(stack, tokens=100, rate=200)
    with ThreadPoolExecutor(3) as pool:
        plain = pool.submit(read_text, stack.webs[0].url, job)
        socket = pool.submit(read_text_websocket, stack.webs[1].url, job)
        golden = read_plain_answer(stack.webs[0].url, job)
    assert plain.result() == golden
    assert socket.result() == golden


def test_submit_that_streams_at_once(stack: Stack) -> None:
    """A submit with a stream's media type is answered by that stream, which names the job."""
    body = {"prompt": PROMPT, "params": {"tokens": 20, "rate": 200}}
    texts = {}
    for media_type in ("text/event-stream", "application/x-ndjson", "text/plain"):
        answer = stack.client().post("/jobs", json=body, headers={"Accept": media_type})
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == media_type
        job = answer.headers["location"].rpartition("/")[2]
        texts[media_type] = READERS["sse"](stack.webs[1].url, job).text
        if media_type == "text/plain":
            assert answer.text == texts[media_type]
        else:
            assert job in answer.text.split("started")[0]
    assert len(set(texts.values())) == 1


def test_prefer_wait_answers_the_finished_job(stack: Stack) -> None:
    """``Prefer: wait=N`` gives the finished job if it ends in time, and 202 if not."""
    client = stack.client()
    quick = {"prompt": "x", "params": {"tokens": 5, "rate": 100}}
    answer = client.post("/jobs", json=quick, headers={"Prefer": "wait=10"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=10")
    assert answer.json()["status"] == "succeeded"
    slow = {"prompt": "x", "params": {"tokens": 5, "first_token_s": 5}}
    answer = client.post("/jobs", json=slow, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


def test_sse_at_the_end_of_an_ended_log(stack: Stack, ended_job: tuple[str, list[bytes]]) -> None:
    """A reconnect with the terminal entry's id gets 204, on which an EventSource stops."""
    job, log = ended_job
    answer = stack.client().get(f"/jobs/{job}/stream", headers={"Last-Event-ID": str(len(log))})
    assert answer.status_code == 204
