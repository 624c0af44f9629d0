"""Requests that refer to much by little: what they cost, and what a reader of another job notices of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.bystander import Bystander
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.stack import running_stack

MB = 1_000_000
LINES = 150
REFERENCES = 60
CLIENTS = 4
TURNS = 202


@pytest.mark.slow
def test_batch_that_goes_on_from_a_large_conversation(directory: Path) -> None:
    """A batch of 17 KB whose lines all go on from a megabyte of conversation is refused, and leaves nothing."""
    with running_stack(directory, webs=1, workers=1) as stack:
        jobs = Jobs(stack)
        job = jobs.submit("x" * MB, tokens=5, rate=0)
        jobs.wait_for_end([job])
        lines = [{"prompt": f"line {n}", "continue_from": job, "params": {"tokens": 5}} for n in range(LINES)]
        with Bystander(stack) as bystander:
            bystander.calm()
            with bystander.attack():
                answers = [stack.client().post("/batches", json=lines, timeout=120) for _ in range(3)]
            bystander.report(f"3 batches of {LINES} lines that go on from 1 MB", status=answers[0].status_code)
            assert [answer.status_code for answer in answers] == [413] * 3
            assert bystander.grew_mb("web") < 60
            assert bystander.grew_mb("redis") < 5
            assert bystander.silence_s < 1


@pytest.mark.slow
def test_many_references_to_a_long_job(directory: Path) -> None:
    """Requests with many references to one long job read it once each, and stop when their clients leave."""
    with running_stack(directory, webs=1, workers=1) as stack:
        jobs = Jobs(stack)
        job = jobs.submit("x", tokens=50_000, rate=0, reasoning=2)
        jobs.wait_for_end([job])
        items: Any = [{"type": "item_reference", "id": f"rs_{job}_0"}] * REFERENCES
        body = {"model": "demo", "input": [{"role": "user", "content": "x"}, *items], "background": True, "tokens": 5}
        with Bystander(stack) as bystander:
            bystander.calm()
            with bystander.attack():
                for _ in range(CLIENTS):
                    with pytest.raises(httpx.ReadTimeout):
                        stack.client().post("/v1/responses", json=body, timeout=0.02)
                began = time.monotonic()
                answer = stack.client().post("/v1/responses", json=body, timeout=120)
                took_s = round(time.monotonic() - began, 2)
            bystander.report(f"{CLIENTS + 1} requests with {REFERENCES} references to 50,000 entries", took_s=took_s)
            assert answer.status_code == 200, answer.text
            assert bystander.silence_s < 1
            assert bystander.grew_mb("web") < 60


@pytest.mark.slow
def test_chain_of_turns(directory: Path) -> None:
    """Turns that each go on from the one before keep each turn once: not one in 202 is beyond its owner's bytes."""
    with running_stack(directory, webs=1, workers=1, OWNER_MAX_BYTES=16 * 2**20) as stack:
        client, jobs = stack.client(), Jobs(stack)
        before, job = int(stack.redis.info("memory")["used_memory"]), ""
        for _ in range(TURNS):
            body: dict[str, Any] = {"prompt": "x" * 5000, "params": {"tokens": 5, "rate": 0, "first_token_s": 0}}
            answer = client.post("/jobs", json={**body, **({"continue_from": job} if job else {})})
            assert answer.status_code == 202, answer.text
            job = answer.json()["id"]
            jobs.wait_for_end([job])
        kept = int(stack.redis.info("memory")["used_memory"]) - before
        measured("chain of turns of 5 KB", turns=TURNS, redis_mb=round(kept / 2**20, 1))
        assert kept < 5 * MB
