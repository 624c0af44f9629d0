"""The same on real processes: Spool's web, workers and demo, and Celery's worker with a list in Redis as its queue."""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import Celery
from redis import Redis as Client

from bench.fair.slots import TOKENS_A_S, Service
from bench.fair.trace import Work
from rig.process import Process, wait_for
from rig.redis_server import Redis
from rig.stack import Stack, running_stack
from spool.keys import job as job_key

_SECRET = "-secret-0123456789"
_LEASE_S = 2


class Processes(ABC):
    """A queue of real processes. Workers have ``slots`` / ``workers`` slots each."""

    workers: Sequence[Process]

    @abstractmethod
    def submit(self, works: Sequence[Work]) -> None:
        """Submit the jobs of one owner."""

    @abstractmethod
    def services(self) -> list[Service]:
        """The last attempt of each job that has begun; times are seconds since the epoch."""

    def kill_and_restart(self, number: int) -> None:
        """SIGKILL a worker, and start it again."""
        self.workers[number].kill()
        self.workers[number].start()


class SpoolProcesses(Processes):
    """Spool, with a key for each owner."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.workers = stack.workers
        self._jobs: list[tuple[str, Work]] = []

    def submit(self, works: Sequence[Work]) -> None:
        client = self._stack.client(headers={"Authorization": f"Bearer {works[0].owner}{_SECRET}"})
        bodies = [
            {
                "prompt": "bench",
                "priority": "interactive",
                "params": {"tokens": work.tokens, "rate": TOKENS_A_S, "first_token_s": 0},
            }
            for work in works
        ]
        ids = [client.post("/jobs", json=body, timeout=120).raise_for_status().json()["id"] for body in bodies]
        self._jobs += zip(ids, works, strict=True)

    def services(self) -> list[Service]:
        asked = [("HMGET", job_key(job_id), "attempts", "ended_ms") for job_id, _ in self._jobs]
        replies = self._stack.redis.link.pipeline(asked)
        found = []
        for (_, work), (attempts, ended_ms) in zip(self._jobs, replies, strict=True):
            if attempts:
                began_s = json.loads(attempts)[-1]["at_ms"] / 1000
                found.append(Service(work, began_s, int(ended_ms) / 1000 if ended_ms else float("inf")))
        return found


class CeleryList(Processes):
    """Celery as it is usually configured for long tasks: late acknowledgement, no prefetch."""

    def __init__(self, redis: Redis, workers: Sequence[Process]) -> None:
        self.workers = workers
        self._app = Celery(broker=_broker(redis))
        self._client = Client(unix_socket_path=str(redis.socket_path))
        self._works: list[Work] = []

    def submit(self, works: Sequence[Work]) -> None:
        with self._app.connection_for_write() as connection:
            for number, work in enumerate(works, len(self._works)):
                arguments = (number, work.tokens / TOKENS_A_S)
                self._app.send_task("answer", arguments, queue="answers", connection=connection)
        self._works += works

    def services(self) -> list[Service]:
        began = self._client.hgetall("began")
        ended = self._client.hgetall("ended")
        return [
            Service(self._works[int(number)], float(at), float(ended.get(number, "inf")))
            for number, at in began.items()
        ]


@contextmanager
def spool_processes(owners: Sequence[str], slots: int, workers: int) -> Iterator[SpoolProcesses]:
    """Spool without its limit of one owner's share, which would be a fairness of its own."""
    keys = ",".join(f"{owner}={owner}{_SECRET}" for owner in owners)
    settings = {"API_KEYS": keys, "OWNER_SHARE": 1, "LEASE_S": _LEASE_S, "MAX_ATTEMPTS": 50}
    with (
        tempfile.TemporaryDirectory(prefix="spool-") as directory,
        running_stack(
            Path(directory), webs=1, workers=workers, concurrency=slots // workers, aof=True, **settings
        ) as stack,
    ):
        yield SpoolProcesses(stack)


@contextmanager
def celery_list(_owners: Sequence[str], slots: int, workers: int) -> Iterator[CeleryList]:
    """Celery's workers on a Redis of their own."""
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        directory = Path(name)
        redis = Redis(directory, aof=True)
        argv = [sys.executable, "-m", "celery", "--quiet", "-A", "bench.peers.celery_list", "worker", "-Q", "answers"]
        argv += ["--pool", "gevent", "--concurrency", str(slots // workers), "--without-gossip", "--without-mingle"]
        env = {**os.environ, "BENCH_BROKER": _broker(redis), "BENCH_REDIS": str(redis.socket_path)}
        started = [Process(f"celery{n}", [*argv, "-n", f"celery{n}@%h"], env, directory) for n in range(workers)]
        redis.start()
        try:
            wait_for(redis.is_ready, "Redis answers")
            for worker in started:
                worker.start()
            wait_for(lambda: int(redis.link.call("SCARD", "workers")) == workers, "Celery's workers are ready", 30)
            yield CeleryList(redis, started)
        finally:
            for process in [*started, redis]:
                process.close()
            redis.link.close()


def _broker(redis: Redis) -> str:
    return f"redis+socket://{redis.socket_path}"


@dataclass(frozen=True, slots=True)
class Measured:
    """The services of a run, and when each owner's jobs were submitted; seconds since the first submit."""

    services: Sequence[Service]
    arrivals_s: Mapping[str, float]


def run(subject: Processes, works: Sequence[Work], seconds: float, kill_every_s: float = 0.0) -> Measured:
    """Submit these jobs, each owner's at once, and let them run for so long after the last submit. Meanwhile workers
    are killed, one every ``kill_every_s``."""
    began_s, arrivals_s = time.time(), {}
    for owner, part in itertools.groupby(works, lambda work: work.owner):
        arrivals_s[owner] = time.time() - began_s
        subject.submit(list(part))
    submitted_s = time.time()
    kills = int(seconds / kill_every_s) if kill_every_s else 0
    for number in range(1, kills + 1):
        time.sleep(max(0.0, submitted_s + number * kill_every_s - time.time()))
        subject.kill_and_restart(number % len(subject.workers))
    time.sleep(max(0.0, submitted_s + seconds - time.time()))
    services = [Service(one.work, one.begin_s - began_s, one.end_s - began_s) for one in subject.services()]
    return Measured(services, arrivals_s)
