"""Workers that die: the readers that stayed attached go on, to the golden text."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.readers import READERS, read_plain_answer, read_sse, read_text
from tests.stack import Stack, running_stack, wait_for

LEASE_S = 2


def start_job(stack: Stack, body: dict[str, object]) -> str:
    """A job that is being answered: some entries are there."""
    client = stack.client()
    job = client.post("/jobs", json=body).json()["id"]
    wait_for(lambda: client.get(f"/jobs/{job}").json()["last_entry"] > 10, "the answer has begun")
    return str(job)


def test_every_worker_killed_mid_answer(directory: Path) -> None:
    """After SIGKILL of every worker, attached readers on every transport go on within the lease and 5 s, and end with
    the text that an unbroken run gives."""
    body = {"prompt": "golden", "params": {"tokens": 200, "rate": 40}}
    with running_stack(directory, LEASE_S=LEASE_S) as stack:
        golden = read_plain_answer(
            stack.webs[0].url,
            stack.client().post("/jobs", json={**body, "params": {"tokens": 200, "rate": 0}}).json()["id"],
        )
        job = start_job(stack, body)
        with ThreadPoolExecutor(8) as pool:
            readings = [pool.submit(read, stack.webs[n % 2].url, job) for n, read in enumerate(READERS.values())]
            plain = pool.submit(read_text, stack.webs[1].url, job)
            for worker in stack.workers:
                worker.kill()
            killed = time.monotonic()
            for worker in stack.workers:
                worker.start()
            wait_for(lambda: stack.client().get(f"/jobs/{job}").json()["attempt"] == 2, "attempt 2", LEASE_S + 5)
            recovered_s = time.monotonic() - killed
            results = [reading.result(timeout=30) for reading in readings]
            assert plain.result(timeout=30) == golden
        print(f"attempt 2 began {recovered_s:.1f} s after the kill (lease {LEASE_S} s)")
        log = results[0].raw
        for reading in results:
            assert reading.raw == log
            assert reading.text == golden
            kinds = [entry["kind"] for entry in reading.entries]
            assert kinds.count("continued") == 1
            assert kinds[-1] == "done"
            assert reading.ids == list(range(1, len(log) + 1))


def test_worker_killed_before_the_first_token_restarts(directory: Path) -> None:
    """An attempt that died having said nothing is begun anew, announced by ``restarted``; what it thought is not
    counted as text."""
    body = {"prompt": "x", "params": {"tokens": 30, "rate": 100, "reasoning": 200, "first_token_s": 0}}
    body["params"]["rate"] = 100  # type: ignore[index]
    with running_stack(directory, workers=1, LEASE_S=LEASE_S) as stack:
        silent = {"prompt": "x", "params": {"tokens": 30, "rate": 100, "first_token_s": 3}}
        client = stack.client()
        job = client.post("/jobs", json=silent).json()["id"]
        wait_for(lambda: client.get(f"/jobs/{job}").json()["status"] == "running", "it runs")
        stack.workers[0].kill()
        stack.workers[0].start()
        reading = read_sse(stack.webs[0].url, job)
        kinds = [entry["kind"] for entry in reading.entries]
        assert kinds[:2] == ["started", "restarted"]
        assert kinds.count("token") == 30
        assert kinds[-1] == "done"


def test_no_worker_comes_back(directory: Path) -> None:
    """With every worker gone for good, the webs alone see that each log ends ``failed`` at its deadline."""
    body = {"prompt": "x", "params": {"tokens": 2000, "rate": 20}, "timeout_s": 6}
    with running_stack(directory, workers=1, LEASE_S=LEASE_S) as stack:
        running = start_job(stack, body)
        stack.workers[0].kill()
        queued = stack.client().post("/jobs", json=body).json()["id"]
        with ThreadPoolExecutor(2) as pool:
            for reading in pool.map(lambda job: read_sse(stack.webs[1].url, job), [running, queued]):
                assert reading.ended
                assert reading.entries[-1]["kind"] == "failed"
                assert reading.entries[-1]["error"]["code"] == "deadline_exceeded"


def test_worker_stopped_mid_answer_hands_back(directory: Path) -> None:
    """SIGTERM: what does not finish within the drain time is handed back, and another worker continues at once,
    without an attempt being lost."""
    body = {"prompt": "x", "params": {"tokens": 150, "rate": 30}}
    with running_stack(directory, workers=1, LEASE_S=30, WORKER_DRAIN_S=0) as stack:
        job = start_job(stack, body)
        stack.workers[0].stop()
        assert stack.client().get(f"/jobs/{job}").json()["status"] == "queued"
        stack.workers[0].start()
        reading = read_sse(stack.webs[0].url, job)
        assert [entry["kind"] for entry in reading.entries].count("continued") == 1
        assert [entry["kind"] for entry in reading.entries].count("token") == 150
        losses = stack.redis.link.call("HGET", f"spool:{{0}}:job:{job}", "losses")
        assert losses == b"0"
