"""The usage of owners equals the sum over the logs, after random kills, cancels and hand-backs."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spool.keys import job as job_key
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for

KILLS = int(os.environ.get("USAGE_KILLS", "16"))
JOBS_A_KILL = 8
WORKERS = 3
OPENINGS = {"started", "restarted", "continued"}
ENDS = {"done", "failed", "cancelled"}


def attempts_of(log: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The entries of each attempt, its opening first."""
    found: list[list[dict[str, Any]]] = []
    for entry in log:
        if entry["kind"] in OPENINGS or not found:
            found.append([])
        found[-1].append(entry)
    return found


def tokens_of(job: str, log: Sequence[dict[str, Any]], stack: Stack) -> tuple[int, int]:
    """The tokens in and out that a job's log shows: of each attempt its entries, or a quarter of its text's bytes if
    that is more; of the last one its usage, if the upstream said it."""
    link, tokens_in, tokens_out = stack.redis.link, 0, 0
    prompt = math.ceil(link.call("STRLEN", f"{job_key(job)}:input") / 4)
    said = json.loads(link.call("HGET", job_key(job), "usage") or b"{}")
    attempts = [one for one in attempts_of(log) if one[0]["kind"] in OPENINGS]
    for number, entries in enumerate(attempts, 1):
        inner = [entry for entry in entries if entry["kind"] not in OPENINGS | ENDS]
        text = "".join(entry["text"] for entry in inner if entry["kind"] == "token")
        used = max(len(inner), math.ceil(len(text.encode()) / 4))
        if number == len(attempts) and "output_tokens" in said:
            tokens_in, tokens_out = tokens_in + said.get("input_tokens", prompt), tokens_out + said["output_tokens"]
        elif used:
            tokens_in, tokens_out = tokens_in + prompt, tokens_out + used
    return tokens_in, tokens_out


def _have_begun(jobs: Jobs, ids: Sequence[str], count: int) -> bool:
    return sum(map(bool, jobs.fields(ids, "started_ms"))) >= count


@pytest.mark.slow
@pytest.mark.timeout(300 + 6 * KILLS)
@pytest.mark.parametrize("redis_dies", [False, True], ids=["workers", "workers and Redis"])
def test_usage_equals_the_logs(directory: Path, redis_dies: bool) -> None:
    """Tokens and jobs of ``GET /usage`` are those of all logs, whatever was killed, cancelled or abandoned."""
    chance = random.Random(14)
    with running_stack(
        directory, webs=2, workers=WORKERS, concurrency=10, aof=True, MAX_ATTEMPTS=2, LEASE_S=1, PACK_AFTER_S=0
    ) as stack:
        jobs = Jobs(stack)
        ids: list[str] = []
        for number in range(KILLS):
            latest = [
                jobs.submit(f"job {len(ids) + n} ä", tokens=chance.choice([5, 40]), rate=40) for n in range(JOBS_A_KILL)
            ]
            ids += latest
            # Of earlier ones, some were cancelled before they began.
            wait_for(partial(_have_begun, jobs, latest, JOBS_A_KILL // 2), "jobs begin", 60)
            jobs.cancel(chance.choice(latest))
            victim = stack.redis if redis_dies and number % 4 == 3 else stack.workers[chance.randrange(WORKERS)]
            victim.kill()
            victim.start()
            wait_for(stack.redis.is_ready, "Redis answers")
            stack.wait_ready()
        jobs.wait_for_end(ids, within_s=180)
        states = jobs.fields(ids, "status")
        expected = [tokens_of(job, jobs.log(job), stack) for job in ids]
        today = datetime.now(UTC).date()
        query = {"from": str(today - timedelta(days=1)), "to": str(today), "group": "model"}
        with stack.client() as client:
            total = client.get("/usage", params=query).json()["total"]
        measured(
            f"{len(ids)} jobs, {KILLS} kills of {'workers and Redis' if redis_dies else 'workers'}",
            **{state: states.count(state) for state in ("succeeded", "failed", "cancelled")},
            attempts=total["attempts"], unsuccessful=total["unsuccessful_attempts"], tokens=total["output_tokens"],
        )  # fmt: skip
        assert total["unsuccessful_attempts"] > 0
        assert (total["input_tokens"], total["output_tokens"], total["jobs"]) == (
            sum(one[0] for one in expected),
            sum(one[1] for one in expected),
            len(ids),
        )
