"""``python -m bench.queue_growth``: what each operation costs with 100,000 jobs of 1,000 owners queued.

Two stacks stand side by side, one with an empty queue. Each operation is measured on both in turns, so that the load of
the machine meets both alike: requests through a web process, and the scripts of claims, ends and the keeper.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx

from bench.percentile import percentile
from rig.by_hand import HandWorker, keep, new_job, store_of
from rig.stack import Stack, running_stack
from spool.jobs.claims import Claim
from spool.jobs.job import NewJob
from spool.redis.link import RedisLink

_OWNER, _KEY = "caller", "caller-secret-0123456789"
_LISTED = 100
_AT_ONCE = 500
_BODY = {"prompt": "x"}


class Side:
    """One of the two stacks, and the operations on it."""

    def __init__(self, stack: Stack) -> None:
        self._client = stack.client(headers={"Authorization": f"Bearer {_KEY}"})
        self._link: RedisLink = stack.redis.link
        self._worker = HandWorker(self._link, lease_s=600)
        self._claim: Claim | None = None
        self._job = ""

    def fill(self, jobs: int, owners: int) -> None:
        """Queue so many jobs of so many owners, in turns."""
        store = store_of(self._link)
        for at in range(0, jobs, _AT_ONCE):
            part = [_job(f"owner{number % owners}") for number in range(at, min(at + _AT_ONCE, jobs))]
            store.submit_many(part, max_queued=10**7)

    def prepare(self) -> None:
        """The caller has jobs that have ended, and what a process does once is done."""
        store = store_of(self._link)
        ended = [_job(_OWNER) for _ in range(_LISTED)]
        store.submit_many(ended, max_queued=10**7)
        store.cancel_many([job.id for job in ended], _OWNER)
        for operation in self.operations().values():
            operation()

    def operations(self) -> Mapping[str, Callable[[], object]]:
        """In this order; each leaves the queue as long as it was, or what it adds is claimed next."""
        return {
            "submit, POST /jobs": self._submit,
            "poll, GET /jobs/ID": lambda: self._get(f"/jobs/{self._job}"),
            "list, GET /jobs?limit=20": lambda: self._get("/jobs?limit=20"),
            "list, GET /jobs?status=cancelled": lambda: self._get("/jobs?limit=20&status=cancelled"),
            "list, GET /jobs?status=running": lambda: self._get("/jobs?limit=20&status=running"),
            "claim": self._begin,
            "end": self._end,
            "the keeper's beat": lambda: keep(self._link, lease_ms=600_000),
        }

    def _submit(self) -> None:
        answer = self._client.post("/jobs", json=_BODY)
        assert answer.status_code == 202, answer.text
        self._job = answer.json()["id"]

    def _get(self, path: str) -> httpx.Response:
        answer = self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer

    def _begin(self) -> None:
        self._claim = self._worker.take()

    def _end(self) -> None:
        assert self._claim is not None
        self._worker.finish(self._claim)


def _job(owner: str) -> NewJob:
    return new_job(owner=owner, timeout_s=86_400.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.queue_growth", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--owners", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=200)
    options = parser.parse_args()
    with ExitStack() as exits:
        sides = [Side(_stack(exits, options.jobs)) for _ in range(2)]
        sides[1].fill(options.jobs, options.owners)
        for side in sides:
            side.prepare()
        print(f"{'ms, p50 / p99':36}{'empty queue':>18}{f'{options.jobs:,} jobs':>18}{'p50, ratio':>12}")
        for name, both in _measured(sides, options.turns).items():
            empty, full = (f"{statistics.median(its):.2f} / {percentile(its, 0.99):.2f}" for its in both)
            ratio = statistics.median(both[1]) / statistics.median(both[0])
            print(f"{name:36}{empty:>18}{full:>18}{ratio:12.2f}")


def _stack(exits: ExitStack, jobs: int) -> Stack:
    directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="spool-")))
    settings = {"API_KEYS": f"{_OWNER}={_KEY}", "MAX_QUEUED": 2 * jobs}
    return exits.enter_context(running_stack(directory, webs=1, workers=0, aof=True, **settings))


def _measured(sides: Sequence[Side], turns: int) -> dict[str, list[list[float]]]:
    """Milliseconds of each operation, on each side."""
    found: dict[str, list[list[float]]] = {name: [[], []] for name in sides[0].operations()}
    for _ in range(turns):
        for name, its in found.items():
            for side, milliseconds in zip(sides, its, strict=True):
                began = time.perf_counter()
                side.operations()[name]()
                milliseconds.append((time.perf_counter() - began) * 1000)
    return found


if __name__ == "__main__":
    main()
