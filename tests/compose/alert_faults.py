"""One fault for each alert rule: a real Spool is harmed in a ``with`` block, and mended after it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from spool.keys import HOME, prefix
from spool.keys import job as job_key
from spool.switches.switch import checked
from tests.faults.jobs import Jobs
from tests.faults.switching import switched
from tests.stack import Stack, wait_for

SLOTS = 5
"""Of each of two workers."""
PAUSE = checked("pause", "model:demo")
_STOPPED_S, _RUNS_S = 0.7, 0.5


@dataclass
class Live:
    """A Spool with two webs and two workers, whose model ``m`` is an upstream that refuses while ``refuses`` is set."""

    stack: Stack
    refuses: threading.Event

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.stack)
        self.client = self.stack.client()

    def submit(self, fields: Mapping[str, Any] | None = None, **params: Any) -> str:
        """Submit a job of the demo; its id."""
        return self.jobs.submit(fields={"model": "demo", **(fields or {})}, **params)


Fault = Callable[[Live], AbstractContextManager[None]]


@contextmanager
def repeated(action: Callable[[], object], every_s: float = 0.2) -> Iterator[None]:
    """Do something again and again beside the block."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every_s):
            with suppress(httpx.TransportError):
                action()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def configured(live: Live, name: str, value: str | int) -> Iterator[None]:
    """With another setting of Redis."""
    link = live.stack.redis.link
    before = link.call("CONFIG", "GET", name)[1]
    link.call("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        link.call("CONFIG", "SET", name, before)


@contextmanager
def running(live: Live, count: int) -> Iterator[list[str]]:
    """With so many long jobs, which are cancelled after it."""
    ids = [live.submit(tokens=2000, rate=10) for _ in range(count)]
    try:
        yield ids
    finally:
        for job in ids:
            live.jobs.cancel(job)
        live.jobs.wait_for_end(ids)


@contextmanager
def users_wait(live: Live) -> Iterator[None]:
    """The model is paused, and an interactive job waits."""
    with switched(live.stack, PAUSE):
        live.submit(tokens=1)
        yield


@contextmanager
def batches_wait(live: Live) -> Iterator[None]:
    """The model is paused, and a batch job waits."""
    with switched(live.stack, PAUSE):
        live.submit(fields={"priority": "batch"}, tokens=1)
        yield


@contextmanager
def first_token_late(live: Live) -> Iterator[None]:
    """The model thinks for 12 s."""
    with repeated(lambda: live.submit(tokens=1, first_token_s=12), 2.0):
        yield
    live.jobs.wait_for_end()


@contextmanager
def stuttering_webs(live: Live) -> Iterator[None]:
    """The webs stand still for 0.7 s, again and again, while jobs are read."""
    over = threading.Event()

    def stutter() -> None:
        while not over.wait(_RUNS_S):
            for web in live.stack.webs:
                web.pause()
            over.wait(_STOPPED_S)
            for web in live.stack.webs:
                web.signal(signal.SIGCONT)

    def read(job: str) -> None:
        headers = {"Accept": "text/event-stream"}
        with suppress(httpx.HTTPError), live.client.stream("GET", f"/jobs/{job}/stream", headers=headers) as answer:
            for _ in answer.iter_lines():
                if over.is_set():
                    return

    with running(live, 4) as ids:
        threads = [threading.Thread(target=read, args=(job,)) for job in ids]
        threads.append(threading.Thread(target=stutter))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


@contextmanager
def server_errors(live: Live) -> Iterator[None]:
    """Submits are stopped, and are tried nonetheless."""
    body = {"prompt": "x"}
    with switched(live.stack, checked("stop-submits", "all")), repeated(lambda: live.client.post("/jobs", json=body)):
        yield


@contextmanager
def streams_break(live: Live) -> Iterator[None]:
    """Readers leave before the end."""

    def leave(job: str) -> None:
        with live.client.stream("GET", f"/jobs/{job}/stream", headers={"Accept": "text/event-stream"}) as answer:
            next(answer.iter_raw())

    with running(live, 1) as ids, repeated(lambda: leave(ids[0])):
        yield


@contextmanager
def jobs_fail(live: Live) -> Iterator[None]:
    """The model fails after a token."""
    with repeated(lambda: live.submit(tokens=3, fail_after=1)):
        yield


@contextmanager
def worker_dies(live: Live) -> Iterator[None]:
    """A worker with a job is killed."""
    with running(live, 1) as ids:
        live.jobs.wait_for_entries(ids, 3)
        worker = live.jobs.worker_of(ids[0])
        worker.kill()
        worker.start()
        yield
    live.stack.wait_ready()


@contextmanager
def job_set_aside(live: Live) -> Iterator[None]:
    """The record of a job that waits is replaced by text, and its owner is lost."""
    link, index = live.stack.redis.link, prefix(HOME)
    with switched(live.stack, PAUSE):
        job = live.submit(tokens=1)
        link.pipeline([("DEL", job_key(job)), ("SET", job_key(job), "no record")])
        link.call("ZREM", f"{index}owner:anonymous", job)
    yield
    link.pipeline([("DEL", job_key(job)), ("DEL", f"{index}set-aside")])
    live.jobs.accepted.clear()


@contextmanager
def no_persistence(live: Live) -> Iterator[None]:
    """Redis writes no append-only file."""
    with configured(live, "appendonly", "no"):
        yield


@contextmanager
def web_down(live: Live) -> Iterator[None]:
    """A web is killed."""
    live.stack.webs[1].kill()
    yield
    live.stack.webs[1].start()
    wait_for(live.stack.webs[1].is_ready, "the web is ready")


@contextmanager
def memory_full(live: Live) -> Iterator[None]:
    """Redis has used 98 % of its memory."""
    with configured(live, "maxmemory", _memory(live, 0.98)):
        yield


@contextmanager
def memory_short(live: Live) -> Iterator[None]:
    """Redis has used 85 % of its memory."""
    with configured(live, "maxmemory", _memory(live, 0.85)):
        yield


@contextmanager
def no_worker(live: Live) -> Iterator[None]:
    """All workers are killed."""
    for worker in live.stack.workers:
        worker.kill()
    yield
    for worker in live.stack.workers:
        worker.start()
    live.stack.wait_ready()


@contextmanager
def slots_full(live: Live) -> Iterator[None]:
    """There are more long jobs than slots."""
    with running(live, 2 * SLOTS + 3):
        yield


@contextmanager
def upstream_refuses(live: Live) -> Iterator[None]:
    """The model server answers 503."""
    live.refuses.set()
    job = live.submit(fields={"model": "m"})
    yield
    live.refuses.clear()
    live.jobs.wait_for_end([job])


FAULTS: Mapping[str, Fault] = {
    "SpoolUsersWait": users_wait,
    "SpoolBatchesWait": batches_wait,
    "SpoolFirstTokenLate": first_token_late,
    "SpoolTokensLate": stuttering_webs,
    "SpoolServerErrors": server_errors,
    "SpoolStreamsBreak": streams_break,
    "SpoolJobsFail": jobs_fail,
    "SpoolWorkersDie": worker_dies,
    "SpoolJobsSetAside": job_set_aside,
    "SpoolMayLoseJobs": no_persistence,
    "SpoolDown": web_down,
    "SpoolRefuses": memory_full,
    "SpoolNoWorker": no_worker,
    "SpoolSlotsFull": slots_full,
    "SpoolModelClosed": upstream_refuses,
    "SpoolMemory": memory_short,
    "SpoolLoopLags": stuttering_webs,
}
"""Alert → its fault."""


def _memory(live: Live, used: float) -> int:
    """The ``maxmemory`` of which Redis has used this part."""
    return int(int(live.stack.redis.info("memory")["used_memory"]) / used)
