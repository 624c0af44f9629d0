"""Resumes of a long job on the surfaces that translate its log: what a reader of another job notices of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.by_hand import HandWorker
from tests.faults.bystander import Bystander
from tests.faults.jobs import Jobs, let_pass
from tests.faults.repeated_requests import repeated
from tests.stack import Stack, running_stack

ENTRIES = 50_000
ATTACK_S = 8.0
GROWTH_MB = 150
"""Of the web, mostly answers on their way to clients."""
AI = {"id": "long", "messages": [{"role": "user", "parts": [{"type": "text", "text": "long"}]}], "model": "demo"}


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    """One web, and one worker."""
    directory = short_dir / "folds"
    directory.mkdir()
    with running_stack(directory, webs=1, workers=1, concurrency=50) as running:
        yield running


@pytest.fixture(scope="module")
def ended(stack: Stack) -> str:
    """A job that has ended, with so many entries."""
    jobs = Jobs(stack)
    job = jobs.submit("long", tokens=ENTRIES, rate=0)
    jobs.wait_for_end([job])
    return job


@pytest.fixture(scope="module")
def running_chat(stack: Stack) -> str:
    """A chat whose newest answer has so many entries and goes on: the path that resumes it."""
    client, hand = stack.client(), HandWorker(stack.redis.link, lease_s=300)
    stack.workers[0].pause()
    try:
        with client.stream("POST", "/ai/chat", json=AI) as answer:
            job = answer.headers["x-spool-job"]
        claim = hand.take_job(job)
    finally:
        stack.workers[0].resume()
    for _ in range(ENTRIES // 500):
        hand.say(claim, *(["token "] * 500))
    return "/ai/chat/long/stream"


@pytest.mark.slow
@pytest.mark.parametrize("clients", [10, 200])
@pytest.mark.parametrize("what", ["near the end", "all of it", "the resource", "a chat"])
def test_reader_beside_resumes(stack: Stack, ended: str, running_chat: str, what: str, clients: int) -> None:
    """Clients that resume a long job as fast as they can do not delay the tokens of another job."""
    path = {
        "near the end": f"/v1/responses/resp_{ended}?stream=true&starting_after={ENTRIES - 10}",
        "all of it": f"/v1/responses/resp_{ended}?stream=true",
        "the resource": f"/v1/responses/resp_{ended}",
        "a chat": running_chat,
    }[what]
    with Bystander(stack) as bystander:
        bystander.calm()
        with bystander.attack(), repeated(stack.webs[0], path, clients) as got:
            let_pass(ATTACK_S)
        bystander.report(f"{clients} clients resume {ENTRIES} entries: {what}", **got)
        assert bystander.silence_s < 1
        assert bystander.reconnects == 0
        assert bystander.grew_mb("web") < GROWTH_MB
