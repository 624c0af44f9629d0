"""One owner at every limit, batches that do not fit, memory to its brim: what the others notice, and what is left."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from spool.bell import BELLS_AT_MOST
from spool.bell_queue import QUEUE
from tests.by_hand import use
from tests.faults.bystander import Bystander
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for
from tests.web.problem_shape import stored

ALICE, BOB = "alice-secret-0123456789", "bob-secret-9876543210"


def client_of(stack: Stack, secret: str) -> httpx.Client:
    """A client with this key."""
    return stack.client(headers={"Authorization": f"Bearer {secret}"})


def first_token_s(client: httpx.Client) -> float:
    """How long it takes from a submit to its first token."""
    began = time.monotonic()
    body = {"prompt": "x", "params": {"tokens": 3, "first_token_s": 0}}
    with client.stream("POST", "/jobs", json=body, headers={"Accept": "text/event-stream"}) as stream:
        for line in stream.iter_lines():
            if line == "event: token":
                return time.monotonic() - began
    raise AssertionError("the stream ended without a token")


def median_of(times: list[float]) -> float:
    """The middle one, in milliseconds."""
    return sorted(times)[len(times) // 2] * 1000


@pytest.mark.slow
def test_one_owner_at_every_limit(directory: Path) -> None:
    """An owner fills slots, queue and streams up to its limits: another's jobs begin and are read as before."""
    limits = {"MAX_QUEUED": 2000, "MAX_STREAMS": 100}
    with running_stack(
        directory, webs=1, workers=1, concurrency=20, API_KEYS=f"alice={ALICE},bob={BOB}", **limits
    ) as stack:
        alice, bob = client_of(stack, ALICE), client_of(stack, BOB)
        wait_for(lambda: stack.redis.link.call("HGET", "spool:{0}:limits", "owner_share"), "workers know the limits")
        before = [first_token_s(bob) for _ in range(20)]
        refused = 0
        long = {"prompt": "x", "params": {"tokens": 100_000, "rate": 1}, "timeout_s": 600}
        for _ in range(30):
            refused += alice.post("/batches", json=[long] * 100).status_code == 429
        wait_for(lambda: stack.redis.link.call("ZCARD", "spool:{0}:running:demo") == 15, "alice has her slots", 30)
        with ExitStack() as streams:
            job = alice.get("/jobs").json()["jobs"][0]["id"]
            opened = [streams.enter_context(alice.stream("GET", f"/jobs/{job}/stream")) for _ in range(90)]
            full = sum(b"unavailable" in next(response.iter_bytes()) for response in opened)
            during = [first_token_s(bob) for _ in range(20)]
        assert refused >= 10
        assert full == 15
        assert use(stack.redis.link, "alice")["running"] == 15
        measured(
            "one owner at the limits of slots, queue and streams",
            others_first_token_ms=f"{median_of(before):.1f}, meanwhile {median_of(during):.1f}",
            batches_refused=refused,
            streams_refused=full,
        )
        assert median_of(during) < 10 * median_of(before)


@pytest.mark.slow
def test_refused_batches_leave_nothing(directory: Path) -> None:
    """Batches that do not fit, again and again: Redis holds what it held before."""
    with running_stack(directory, webs=1, workers=0, MAX_QUEUED=5000) as stack, stack.client() as client:
        wait_for(lambda: stack.redis.link.call("EXISTS", "spool:{0}:keeper"), "the keeper has been there")
        before, used = stored(stack.redis.link), int(stack.redis.info("memory")["used_memory"])
        body = [{"prompt": "x" * 500}] * 5001
        for _ in range(5):
            assert client.post("/batches", json=body).status_code == 503
        assert stored(stack.redis.link) == before
        grew = int(stack.redis.info("memory")["used_memory"]) - used
        measured("a batch of 5,001 jobs refused 5 times", keys_left=0, redis_grew_kb=round(grew / 1024))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_batch_to_the_brim_of_the_memory(directory: Path) -> None:
    """What is accepted fits: all of it ends, and Redis stays below its maxmemory."""
    limit = 40 * 2**20
    extra = ["--maxmemory", str(limit)]
    with (
        running_stack(directory, webs=1, workers=1, concurrency=50, redis_args=extra) as stack,
        stack.client() as client,
    ):
        wait_for(lambda: stack.redis.link.call("HGET", "spool:{0}:memory", "max") == str(limit).encode(), "known")
        # Each piece an entry: 500 of them take some 60 KB.
        body = [{"prompt": "x", "coalesce": False, "params": {"tokens": 500, "rate": 0, "first_token_s": 0}}] * 100
        batches, refused, most = [], 0, 0

        def used() -> int:
            nonlocal most
            now = int(stack.redis.info("memory")["used_memory"])
            most = max(most, now)
            return now

        for _ in range(40):
            answer = client.post("/batches", json=body)
            used()
            if answer.status_code == 202:
                batches.append(answer.json()["id"])
            else:
                assert answer.status_code == 503
                refused += 1

        def all_ended() -> bool:
            used()
            return all(client.get(f"/batches/{batch}").json()["ended"] for batch in batches)

        wait_for(all_ended, "all that was accepted has ended", 200)
        counts = [client.get(f"/batches/{batch}").json()["counts"]["succeeded"] for batch in batches]
        assert refused
        assert counts == [100] * len(batches)
        assert most < limit
        measured(
            "batches to the brim of 40 MB", accepted=len(batches) * 100, refused=refused, most=f"{most / limit:.2f}"
        )


@pytest.mark.slow
def test_bells_while_no_worker_runs(directory: Path) -> None:
    """Jobs submitted, and cancelled, while no worker runs leave a bounded number of bells."""
    with running_stack(directory, webs=1, workers=0) as stack, stack.client() as client:
        for _ in range(500):
            job = client.post("/jobs", json={"prompt": "x"}).json()["id"]
            client.post(f"/jobs/{job}/cancel")
        unheard = int(stack.redis.link.call("LLEN", QUEUE))
        measured("500 jobs submitted and cancelled while no worker runs", bells=unheard)
        assert unheard <= BELLS_AT_MOST


@pytest.mark.slow
def test_reader_beside_a_flood_of_refused_submits(directory: Path) -> None:
    """What a reader of another's job notices of submits that are refused."""
    with running_stack(directory, webs=1, workers=1, MAX_QUEUED=1000) as stack, Bystander(stack) as bystander:
        bystander.calm()
        with bystander.attack(), stack.client() as client:
            for _ in range(10):
                assert client.post("/batches", json=[{"prompt": "x"}] * 2000).status_code == 503
        bystander.report("10 batches of 2,000 jobs refused")
        assert bystander.reconnects == 0
