"""Readers of jobs whose logs are packed meanwhile: at any moment, on every transport, they see what others saw."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from spool.jobs.packer import Packer
from spool.jobs.shards import Shard
from spool.keys import log as log_key
from spool.redis.link import RedisLink
from tests.by_hand import rows_of
from tests.loopback import NO_CERTIFICATES
from tests.readers import READERS, Reading, read_plain_answer, read_text, read_text_websocket, sse_events
from tests.stack import Stack, wait_for

TEXTS: dict[str, Callable[[str, str], str]] = {
    "text": read_text,
    "text_websocket": read_text_websocket,
    "plain": read_plain_answer,
}
PROMPT = "Tell me about 糸 and نخ,\nand 🧵."
TOKENS = 300


@contextmanager
def packing(stack: Stack) -> Iterator[None]:
    """Logs are packed as soon as their jobs end, and at once if the time of their end is long past."""
    over = threading.Event()

    def pack() -> None:
        link = RedisLink(stack.redis.url, connections=1, name="packer-under-test")
        packer = Packer(Shard(0, link), after_s=0)
        while not over.is_set():
            packer.beat(over.wait) or over.wait(0.01)
        link.close()

    thread = threading.Thread(target=pack)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def responses_stream(base: str, job: str, after: int = 0) -> list[tuple[str, str]]:
    """The events of the job's response on ``/v1`` after an event."""
    url = f"{base}/v1/responses/{job}?stream=true&starting_after={after}"
    with httpx.Client(verify=NO_CERTIFICATES, timeout=60) as client, client.stream("GET", url) as response:
        assert response.status_code == 200, response.read()
        return [(event.get("event", ""), event["data"]) for event in sse_events(response)]


def respond(stack: Stack) -> str:
    """A job that came in by ``/v1/responses``; its id."""
    body = {"model": "demo", "input": PROMPT, "background": True, "max_output_tokens": TOKENS, "rate": 0}
    answer = stack.client().post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def submit(stack: Stack, rate: float) -> str:
    """A job that came in by ``/jobs``; its id."""
    params = {"tokens": TOKENS, "rate": rate, "first_token_s": 0, "reasoning": 3}
    answer = stack.client().post("/jobs", json={"prompt": PROMPT, "params": params})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def in_pieces(chance: random.Random, stack: Stack, transport: str, job: str, after: int) -> Reading:
    """Read from ``after`` to the end, cut anywhere and resumed on another web."""
    whole = Reading()
    while not whole.ended:
        web, size = chance.choice(stack.webs), chance.choice([None, None, chance.randint(1, TOKENS)])
        piece = READERS[transport](web.url, job, after=whole.ids[-1] if whole.ids else after, stop_after=size)
        whole.entries += piece.entries
        whole.raw += piece.raw
        whole.other += piece.other
        whole.ended = piece.ended
    return whole


def read_somehow(chance: random.Random, stack: Stack, job: str) -> tuple[str, int, Reading | str]:
    """Read the job on any transport, from any web, after any entry: the transport, the cursor, and what was read."""
    web, after = chance.choice(stack.webs), chance.choice([0, chance.randrange(TOKENS)])
    transport = chance.choice([*READERS, *TEXTS])
    if transport in TEXTS:
        return transport, 0, TEXTS[transport](web.url, job)
    return transport, after, in_pieces(chance, stack, transport, job, after)


def check_moments(stack: Stack, jobs: int, moments: int, seed: int) -> int:
    """So many readers of each job, which begin at random moments around the time at which its log is packed. Returns
    the number of readers that saw the right thing."""
    seen = 0
    for number in range(jobs):
        # Every other job still runs while it is read, and is packed the moment it ends.
        job = submit(stack, rate=1500 if number % 2 else 0)
        if number % 2 == 0:
            read_plain_answer(stack.webs[0].url, job)
        with ThreadPoolExecutor(16) as pool:
            chances = [random.Random(seed * 1_000_000 + number * 1000 + moment) for moment in range(moments)]
            readings = [pool.submit(read_somehow, chance, stack, job) for chance in chances]
            with packing(stack):
                wait_for(partial(is_packed, stack, job), "the log is packed", 30)
        rows = rows_of(stack.redis.link, job)
        assert [entry_id for entry_id, _raw in rows] == list(range(1, len(rows) + 1))
        whole = Reading()
        for _entry_id, raw in rows:
            whole.add(raw)
        for transport, after, reading in [reading.result() for reading in readings]:
            if isinstance(reading, str):
                assert reading == whole.text, transport
            else:
                assert reading.raw == whole.raw[after:], transport
                assert reading.ids == whole.ids[after:], transport
                assert not [other for other in reading.other if other["type"] in ("gap", "unavailable")], transport
            seen += 1
    return seen


def is_packed(stack: Stack, job: str) -> bool:
    """Whether its log is packed."""
    return bool(stack.redis.link.call("TYPE", log_key(job)) == b"string")


def test_readers_while_a_log_is_packed(stack: Stack) -> None:
    """Dozens of readers at random moments: 0 differences."""
    assert check_moments(stack, jobs=2, moments=24, seed=1) == 48


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_moments(stack: Stack) -> None:
    """Two thousand readers at random moments: 0 differences."""
    assert check_moments(stack, jobs=50, moments=40, seed=2) == 2000


def test_responses_are_the_same_after_packing(stack: Stack) -> None:
    """On ``/v1``, the response, its events from any of them, and its input items are the same, to the byte. Another web
    is asked than before, which has read nothing of the job yet."""
    response = respond(stack)
    read_plain_answer(stack.webs[0].url, response.removeprefix("resp_"))

    def view(number: int) -> list[Any]:
        client, base = stack.client(number), stack.webs[number].url
        paths = [f"/v1/responses/{response}", f"/v1/responses/{response}/input_items"]
        events = responses_stream(base, response)
        later = [responses_stream(base, response, after) for after in (1, len(events) // 2)]
        return [client.get(path).json() for path in paths] + events + later

    before = view(0)
    with packing(stack):
        wait_for(lambda: is_packed(stack, response.removeprefix("resp_")), "the log is packed", 30)
    assert view(1) == before
