"""The broker away or shaken: it only rings, so jobs that run do not notice, and jobs that wait do not wait for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, spread
from tests.faults.measured import measured
from tests.proxy import Proxy
from tests.stack import Process, Redis, free_port, running_stack, wait_for

PATROL_S = 1.0
"""How often a worker looks by itself while no bell rings."""


def waits(jobs: Jobs) -> list[float]:
    """How long each accepted job waited for its first attempt."""
    return [jobs.attempts(job.id)[0] - float(jobs.field(job.id, "created_ms")) / 1000 for job in jobs.accepted]


@contextmanager
def cut_every(seconds: float, proxy: Proxy) -> Iterator[list[int]]:
    """Drop all connections again and again; how many there were each time."""
    cuts: list[int] = []
    is_over = threading.Event()

    def cut() -> None:
        while not is_over.wait(seconds):
            cuts.append(proxy.cut())

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield cuts
    finally:
        is_over.set()
        thread.join()


@pytest.mark.slow
def test_broker_that_dies(directory: Path) -> None:
    """With the broker gone, streams go on without a pause, and a new job is begun within seconds."""
    (directory / "broker").mkdir()
    broker = Redis(directory / "broker", aof=False)
    broker.start()
    try:
        wait_for(broker.is_ready, "the broker answers")
        url = broker.url.replace("unix://", "redis+socket://")
        with running_stack(directory, webs=1, workers=1, BROKER_URL=url) as stack:
            jobs = Jobs(stack)
            runs = jobs.submit(tokens=100, rate=20)
            jobs.wait_for_entries([runs], 5)
            broker.kill()
            began = time.monotonic()
            late = jobs.submit("late", tokens=3)
            assert time.monotonic() - began < 2
            jobs.wait_for_end([late])
            # Still in the middle of the first one: nothing waited for the broker.
            assert jobs.field(runs, "status") == "running"
            jobs.wait_for_end()
            assert jobs.violations() == []
            assert jobs.fields([runs, late], "attempt") == ["1", "1"]
    finally:
        broker.close()
        broker.link.close()


class RefusingBroker:
    """Accepts every connection, and refuses what is said on it."""

    def __init__(self) -> None:
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://:hunter2@127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._refuse, args=(connection,), daemon=True).start()

    def _refuse(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while connection.recv(65_536):
                connection.sendall(b"-NOAUTH Authentication required.\r\n" * 3)


def lines_about_the_broker(process: Process) -> list[str]:
    """What it logged of the broker."""
    lines = process.output.read_text(errors="replace").splitlines()
    return [line for line in lines if "broker" in line or ("celery" in line and "SecurityWarning" not in line)]


@pytest.mark.slow
def test_broker_away_when_a_worker_starts(directory: Path) -> None:
    """Worker and web start without a broker: jobs run all the same, and each says once for each of its two uses that
    the broker is away."""
    with running_stack(directory, webs=1, workers=1, BROKER_URL=f"redis://127.0.0.1:{free_port()}/0") as stack:
        jobs = Jobs(stack)
        for number in range(5):
            jobs.submit(f"without a bell {number}", tokens=3)
        jobs.wait_for_end()
        assert max(waits(jobs)) <= PATROL_S + 4
        assert len(lines_about_the_broker(stack.workers[0])) <= 2
        wait_for(lambda: len(lines_about_the_broker(stack.webs[0])) == 1, "the web says it once")


@pytest.mark.slow
def test_broker_that_refuses(directory: Path) -> None:
    """A broker that accepts connections and refuses is asked ever more rarely, and the log says so once."""
    broker = RefusingBroker()
    with closing(broker), running_stack(directory, webs=1, workers=1, BROKER_URL=broker.url) as stack:
        jobs = Jobs(stack)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            job = jobs.submit(f"refused {len(jobs.accepted)}", tokens=2, rate=0)
            jobs.wait_for_end([job])
        assert max(waits(jobs)) <= PATROL_S + 4
        lines = [line for process in (*stack.webs, *stack.workers) for line in lines_about_the_broker(process)]
        log_bytes = sum(process.output.stat().st_size for process in (*stack.webs, *stack.workers))
        measured("broker that refuses for 30 s", connections=broker.accepted, lines=len(lines), log_bytes=log_bytes)
        assert "hunter2" not in "".join(lines)
        assert len(lines) <= 3
        assert broker.accepted < 60


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_broker_connections_dropped_every_two_seconds(directory: Path) -> None:
    """For half a minute, under a stream of submits and with readers: each job has one attempt, and none waits."""
    with running_stack(directory, proxy_broker=True) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        assert stack.broker_proxy is not None
        jobs = Jobs(stack)
        with cut_every(2.0, stack.broker_proxy) as cuts:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                job = jobs.submit(f"shaken {len(jobs.accepted)}", tokens=40, rate=20)
                crowd.follow(job, "sse")
                jobs.wait_for_entries([job], 1)
            jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.violations(crowd.followings) == []
        assert {jobs.field(job.id, "attempt") for job in jobs.accepted} == {"1"}
        assert {jobs.field(job.id, "status") for job in jobs.accepted} == {"succeeded"}
        found = waits(jobs)
        assert max(found) <= PATROL_S + 4
        assert sum(cuts) > 10
        measured("broker connections dropped every 2 s", connections_dropped=sum(cuts), **spread(found))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["refuses", "black hole"])
def test_broker_gone_for_a_while(directory: Path, how: str) -> None:
    """Twenty seconds without a broker, refused or unheard: jobs are begun within a patrol, streams go on, stopping and
    health checks still work; and when it is back, bells ring again."""
    with running_stack(directory, proxy_broker=True) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        proxy = stack.broker_proxy
        assert proxy is not None
        jobs = Jobs(stack)
        jobs.submit(tokens=400, rate=20)
        if how == "refuses":
            proxy.refuse()
            proxy.cut()
        else:
            proxy.black_hole()
        until = time.monotonic() + 20
        slowest_s = 0.0
        while time.monotonic() < until:
            asked = time.monotonic()
            job = jobs.submit(f"silent {len(jobs.accepted)}", tokens=20, rate=20)
            slowest_s = max(slowest_s, time.monotonic() - asked)
            crowd.follow(job, "websocket")
            jobs.wait_for_entries([job], 1)
        assert all(web.is_ready() for web in stack.webs)
        away = waits(jobs)
        proxy.cut()
        proxy.normal()
        back = time.monotonic()
        accepted = proxy.accepted

        def hears_again() -> bool:
            job = jobs.submit(f"again {len(jobs.accepted)}", tokens=2)
            jobs.wait_for_entries([job], 1)
            return proxy.accepted > accepted and waits(jobs)[-1] < 0.2

        wait_for(hears_again, "a job is begun by the bell", 60)
        heard_s = time.monotonic() - back
        # A worker that is told to stop now must not hang on a broker that was away.
        stack.workers[0].stop()
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.violations(crowd.followings) == []
        assert {jobs.field(job.id, "losses") for job in jobs.accepted} == {"0"}
        assert slowest_s < 2
        assert max(away) <= PATROL_S + 4
        measured(
            f"broker gone for 20 s ({how})",
            slowest_submit_s=round(slowest_s, 2),
            bells_heard_again_after_s=round(heard_s, 1),
            **spread(away),
        )


@pytest.mark.slow
def test_worker_told_to_stop_while_the_broker_is_gone(directory: Path) -> None:
    """SIGTERM with no broker to say goodbye to: jobs are handed back, and the process ends in bounded time."""
    with running_stack(directory, workers=1, proxy_broker=True, LEASE_S=30, WORKER_DRAIN_S=1) as stack:
        assert stack.broker_proxy is not None
        jobs = Jobs(stack)
        job = jobs.submit(tokens=200, rate=20)
        jobs.wait_for_entries([job], 5)
        stack.broker_proxy.refuse()
        stack.broker_proxy.cut()
        began = time.monotonic()
        stack.workers[0].stop(20)
        ended_s = time.monotonic() - began
        assert jobs.field(job, "status") == "queued"
        stack.broker_proxy.normal()
        stack.workers[0].start()
        jobs.wait_for_end()
        assert jobs.violations() == []
        assert jobs.field(job, "losses") == "0"
        measured("worker SIGTERM while the broker is gone", ended_s=round(ended_s, 1))
