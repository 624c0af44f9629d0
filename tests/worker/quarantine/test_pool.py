"""Processes of their own for jobs that lost theirs twice: started when wanted, few at a time, gone with their worker.

Each test drives ``QuarantinePool`` in a Python process of its own: gevent, once it has started a process, reaps all
children of its own, and those of other tests would be among them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.by_hand import HandWorker, age, keep, kinds_of, record, submit
from tests.stack import ROOT, Redis, wait_for
from worker.quarantine.pool import AT_MOST

_DRIVER = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from worker.quarantine.pool import QuarantinePool
driven = QuarantinePool(tuple(sys.argv[2:]), start_every_s=float(sys.argv[1]))
for line in sys.stdin:
    word, _, number = line.partition(" ")
    if word == "want":
        driven.want(int(number))
    else:
        driven.stop()
        break
    print("done", flush=True)
"""


class Driven:
    """A pool in a process of its own, which runs ``command``."""

    def __init__(self, *command: str, start_every_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, str(start_every_s), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )

    def want(self, waiting: int) -> None:
        """So many jobs want a process; returns when it has been heard."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"want {waiting}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def stop(self) -> None:
        """They are stopped, and the process ends."""
        assert self.process.stdin is not None
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()
        self.process.wait(30)

    @property
    def pids(self) -> list[int]:
        """The processes that it has started, and that live."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [pid for pid in map(int, found.split()) if alive(pid)]


def alive(pid: int) -> bool:
    """Whether there is such a process, and more than its exit status of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def driving(*command: str, start_every_s: float = 0) -> Iterator[Driven]:
    """Such a pool; nothing of it is left."""
    driven = Driven(*command, start_every_s=start_every_s)
    try:
        yield driven
    finally:
        for pipe in (driven.process.stdin, driven.process.stdout):
            assert pipe is not None
            pipe.close()
        if driven.process.poll() is None:
            os.killpg(driven.process.pid, signal.SIGKILL)
        driven.process.wait(5)


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

UNTIL_EOF = ("cat",)
"""Stands in for a program that ends when its standard input does."""
DEAF = ("sleep", "600")


def test_as_many_as_wait_are_started() -> None:
    """One process for each job that waits, and as long as these live no more for the same number."""
    with driving(*UNTIL_EOF) as driven:
        driven.want(2)
        assert len(driven.pids) == 2
        driven.want(2)
        assert len(driven.pids) == 2


def test_number_is_bounded() -> None:
    """However many wait, a worker starts a few only."""
    with driving(*UNTIL_EOF) as driven:
        driven.want(1000)
        driven.want(1000)
        assert len(driven.pids) == AT_MOST


def test_processes_that_end_are_replaced(tmp_path: Path) -> None:
    """An exited process is replaced while a job waits."""
    starts = tmp_path / "starts"
    with driving("sh", "-c", f"echo >> {starts}") as driven:
        driven.want(1)
        wait_for(starts.exists, "it was started")
        wait_for(lambda: not driven.pids, "it has ended")
        driven.want(1)
        wait_for(lambda: len(starts.read_bytes()) == 2, "its successor was started")


def test_processes_that_end_at_once_are_not_replaced_at_once() -> None:
    """Between two starts there is a pause."""
    with driving("true", start_every_s=3600) as driven:
        driven.want(1)
        wait_for(lambda: not driven.pids, "it has ended")
        driven.want(4)
        assert driven.pids == []


def test_stop_ends_them() -> None:
    """When the worker stops, none of them is left."""
    with driving(*DEAF) as driven:
        driven.want(3)
        pids = driven.pids
        assert len(pids) == 3
        driven.stop()
        assert [pid for pid in pids if alive(pid)] == []


def test_death_of_their_worker_is_noticed() -> None:
    """SIGKILL of the worker alone: their standard input ends, which is how each of them learns of it."""
    with driving(*UNTIL_EOF) as driven:
        driven.want(3)
        pids = driven.pids
        driven.process.kill()
        wait_for(lambda: not any(map(alive, pids)), "they end")


@pytest.fixture
def own_redis(directory: Path) -> Iterator[Redis]:
    """A Redis that the program may use as its own."""
    redis = Redis(directory, aof=False)
    redis.start()
    wait_for(redis.is_ready, "Redis answers")
    yield redis
    redis.close()
    redis.link.close()


@contextmanager
def apart(redis: Redis) -> Iterator[subprocess.Popen[bytes]]:
    """The program itself, as a worker starts it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SPOOL_")}
    env |= {"SPOOL_REDIS_URL": redis.url, "SPOOL_LEASE_S": "2", "SPOOL_WORKER_DRAIN_S": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "worker.quarantine"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=env, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def suspicious(redis: Redis, **params: object) -> str:
    """A job that lost its process twice."""
    job = submit(redis.link, input={"messages": [{"role": "user", "content": "hello"}], "params": params})
    worker = HandWorker(redis.link)
    for _ in range(2):
        assert worker.claim() is not None
        age(redis.link, job.id, leased_until_ms=1)
        keep(redis.link)
    assert worker.claim() is None
    return job.id


def test_program_runs_what_waits_and_ends(own_redis: Redis) -> None:
    """Jobs that wait apart are run to their end, others are left alone, and then it ends by itself."""
    jobs = [suspicious(own_redis, tokens=5) for _ in range(3)]
    other = submit(own_redis.link)
    with apart(own_redis) as process:
        assert process.wait(60) == 0
    assert [record(own_redis.link, job)["status"] for job in jobs] == ["succeeded"] * 3
    assert record(own_redis.link, other.id)["status"] == "queued"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["its worker is gone", "SIGTERM"])
def test_program_that_must_end_hands_back(own_redis: Redis, how: str) -> None:
    """It lets its job run for the drain time, then gives it back, which costs no attempt."""
    job = suspicious(own_redis, tokens=2000, rate=20)
    with apart(own_redis) as process:
        wait_for(lambda: record(own_redis.link, job)["status"] == "running", "the job runs")
        wait_for(lambda: "token" in kinds_of(own_redis.link, job), "it speaks")
        if how == "SIGTERM":
            process.terminate()
        else:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        assert process.wait(15) == 0
    found = record(own_redis.link, job)
    assert (found["status"], found["losses"]) == ("queued", "2")
