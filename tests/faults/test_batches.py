"""Batches when processes die: created once or not at all, and each line once."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.faults.armed import Armed
from tests.stack import Stack, running_stack, wait_for

pytestmark = pytest.mark.slow
LINES = 1500
_JSONL = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "k"}


def _body(count: int) -> bytes:
    params = {"tokens": 5, "rate": 100, "first_token_s": 0.05}
    return b"\n".join(json.dumps({"prompt": f"{n}", "params": params}).encode() for n in range(count))


def _indexes(stack: Stack, web: int, batch: str) -> list[int]:
    lines = stack.client(web).get(f"/batches/{batch}/results", timeout=100).text.splitlines()
    return sorted(json.loads(line)["batch_index"] for line in lines)


@pytest.mark.parametrize("point", ["batch.before", "batch.created", "batch.feeding", "batch.fed"])
def test_web_dies_while_it_creates_a_batch(directory: Path, point: str) -> None:
    """A web that dies at any step leaves no batch or one; the retry under the same key gives the one, which ends."""
    unarmed = {0: {"SPOOL_FAIL_POINT": ""}}
    with running_stack(directory, webs=1, workers=1, worker_env=unarmed, FAIL_POINT=f"{point}:1:kill") as stack:
        client, body = stack.client(), _body(20)
        with pytest.raises(httpx.HTTPError):
            client.post("/batches", content=body, headers=_JSONL, timeout=60)
        wait_for(stack.webs[0].is_ready, "the web is back")
        answer = stack.client().post("/batches", content=body, headers=_JSONL, timeout=60)
        batch = answer.json()["id"]
        wait_for(lambda: stack.client().get(f"/batches/{batch}").json()["ended"], "the batch has ended")
        assert len(stack.client().get("/batches").json()["batches"]) == 1
        assert _indexes(stack, 0, batch) == list(range(20))


@pytest.mark.parametrize("point", ["batch.adding", "batch.added"])
def test_web_dies_while_it_adds_lines(directory: Path, point: str) -> None:
    """A web that dies while it adds lines to an open batch adds them once, with the retry under the same key."""
    unarmed = {0: {"SPOOL_FAIL_POINT": ""}}
    with running_stack(directory, webs=1, workers=1, worker_env=unarmed, FAIL_POINT=f"{point}:2:kill") as stack:
        batch = stack.client().post("/batches", json={"open": True}).json()["id"]
        pieces = [(_body(10), _JSONL | {"Idempotency-Key": name}) for name in ("a", "b")]
        stack.client().post(f"/batches/{batch}/lines", content=pieces[0][0], headers=pieces[0][1], timeout=60)
        with pytest.raises(httpx.HTTPError):
            stack.client().post(f"/batches/{batch}/lines", content=pieces[1][0], headers=pieces[1][1], timeout=60)
        wait_for(stack.webs[0].is_ready, "the web is back")
        for body, headers in (pieces[1], pieces[0]):
            stack.client().post(f"/batches/{batch}/lines", content=body, headers=headers, timeout=60).raise_for_status()
        assert stack.client().post(f"/batches/{batch}/seal").json()["total"] == 20
        wait_for(lambda: stack.client().get(f"/batches/{batch}").json()["ended"], "the batch has ended")
        assert _indexes(stack, 0, batch) == list(range(20))


def test_workers_and_a_web_die(directory: Path) -> None:
    """Each line of a batch has one result after both workers and a web were killed while it ran."""
    with running_stack(directory, webs=2, workers=2, concurrency=100, aof=True) as stack:
        batch = stack.client().post("/batches", content=_body(LINES), headers=_JSONL, timeout=120).json()["id"]
        client = stack.client(1)

        def ended() -> int:
            return int(client.get(f"/batches/{batch}", timeout=30).json()["counts"]["succeeded"])

        for part, process in ((0.2, stack.workers[0]), (0.4, stack.webs[0]), (0.6, stack.workers[1])):
            wait_for(lambda part=part: ended() >= part * LINES, f"{part:.0%} of the lines", 120)  # type: ignore[misc]
            process.kill()
            process.start()
        wait_for(lambda: client.get(f"/batches/{batch}").json()["ended"], "the batch has ended", 200)
        assert ended() == LINES
        assert _indexes(stack, 1, batch) == list(range(LINES))


def test_redis_restarts(directory: Path) -> None:
    """A restart of Redis that loses nothing leaves no trace in the batch's log: ids from 1, each line once."""
    with running_stack(directory, webs=2, workers=1, concurrency=100, aof=True) as stack:
        batch = stack.client().post("/batches", content=_body(LINES), headers=_JSONL, timeout=120).json()["id"]
        for number in range(2):
            stack.client(number).get(f"/batches/{batch}/results", timeout=100)

        def has_ended(count: int) -> bool:
            answer = stack.client().get(f"/batches/{batch}", timeout=30)
            return answer.is_success and answer.json()["counts"]["succeeded"] >= count

        wait_for(lambda: has_ended(LINES // 4), "a quarter of the lines", 120)
        stack.redis.restart()
        wait_for(lambda: has_ended(LINES), "the batch has ended", 200)
        headers = {"Accept": "application/x-ndjson"}
        log = stack.client(1).get(f"/batches/{batch}/stream", headers=headers, timeout=100).text.splitlines()
        entries = [entry for entry in map(json.loads, log) if "kind" in entry]
        assert [entry["id"] for entry in entries] == list(range(1, LINES + 2))
        assert sorted(entry["batch_index"] for entry in entries[:-1]) == list(range(LINES))


@pytest.mark.parametrize("point", ["pack_batch.staged", "pack_batch.before", "pack_batch.answered"])
def test_worker_dies_while_it_packs_the_log(directory: Path, point: str) -> None:
    """The log is packed by another worker once the lease is over, and its results are the same, to the byte."""
    with running_stack(directory, webs=1, workers=1, PACK_AFTER_S=0.3) as stack:
        worker = Armed(stack.workers[0])
        worker.start(f"{point}:1:kill")
        client, link = stack.client(), stack.redis.link
        batch = client.post("/batches", content=_body(50), headers=_JSONL, timeout=60).json()["id"]
        wait_for(lambda: worker.happened, "the worker is there", 60)
        before = client.get(f"/batches/{batch}/results").content
        assert before.count(b"\n") == 50
        worker.start()

        def is_packed() -> bool:
            # As if the lease of a minute were over.
            link.call("ZADD", "spool:{0}:unpacked-batches", "XX", 1, batch)
            return bool(link.call("TYPE", f"spool:{{0}}:batch:{batch}:log") == b"string")

        wait_for(is_packed, "the log is packed", 60)
        assert client.get(f"/batches/{batch}/results").content == before
        wait_for(lambda: link.call("ZCARD", "spool:{0}:unpacked-batches") == 0, "nothing is left to pack", 30)
