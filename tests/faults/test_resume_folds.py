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
LAST = f"word {ENTRIES - 1} "
"""The last text of an answer that still runs: clients that have it hang up."""
AI = {"id": "long", "messages": [{"role": "user", "parts": [{"type": "text", "text": "long"}]}], "model": "demo"}
RESPONSE = {"model": "demo", "input": "long", "stream": True}


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


def running(stack: Stack, path: str, body: dict[str, object]) -> str:
    """A job of that request, with so many entries, which still runs."""
    client, hand = stack.client(), HandWorker(stack.redis.link, lease_s=600)
    stack.workers[0].pause()
    try:
        with client.stream("POST", path, json=body) as answer:
            job = answer.headers["x-spool-job"]
        claim = hand.take_job(job)
    finally:
        stack.workers[0].resume()
    for first in range(0, ENTRIES, 500):
        hand.say(claim, *[f"word {n} " for n in range(first, first + 500)])
    return job


@pytest.fixture(scope="module")
def running_chat(stack: Stack) -> str:
    """The path that resumes a chat whose newest answer has so many entries and still runs."""
    running(stack, "/ai/chat", AI)
    return "/ai/chat/long/stream"


@pytest.fixture(scope="module")
def running_response(stack: Stack) -> str:
    """A response with so many entries that still runs."""
    return running(stack, "/v1/responses", RESPONSE)


def replayed(stack: Stack) -> float:
    """The entries that the web has read from logs for translated streams."""
    lines = stack.client().get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("spool_replayed_entries_total"))


@pytest.mark.slow
@pytest.mark.parametrize("clients", [10, 200])
@pytest.mark.parametrize(
    "what", ["near the end", "near the end of a running one", "all of it", "the resource", "a chat"]
)
def test_reader_beside_resumes(
    stack: Stack, ended: str, running_response: str, running_chat: str, what: str, clients: int
) -> None:
    """Clients that resume a long job as fast as they can do not delay the tokens of another job, and what one of them
    has read of the log is not read again for the others."""
    path, until = {
        "near the end": (f"/v1/responses/resp_{ended}?stream=true&starting_after={ENTRIES - 10}", ""),
        "near the end of a running one": (
            f"/v1/responses/resp_{running_response}?stream=true&starting_after={ENTRIES - 10}",
            LAST,
        ),
        "all of it": (f"/v1/responses/resp_{ended}?stream=true", ""),
        "the resource": (f"/v1/responses/resp_{ended}", ""),
        "a chat": (running_chat, LAST),
    }[what]
    before = replayed(stack)
    with Bystander(stack) as bystander:
        bystander.calm()
        with bystander.attack(), repeated(stack.webs[0], path, clients, until=until) as got:
            let_pass(ATTACK_S)
        read = replayed(stack) - before
        bystander.report(f"{clients} clients resume {ENTRIES} entries: {what}", replayed=read, **got)
        assert read <= ENTRIES + 500 * (clients + got.get("answers", 0))
        assert bystander.silence_s < 1
        assert bystander.reconnects == 0
        assert bystander.grew_mb("web") < GROWTH_MB
