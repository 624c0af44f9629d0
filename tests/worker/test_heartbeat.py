"""The heartbeat against a real Redis, which is restarted, stopped and killed under it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest

from spool.jobs.claims import Claims, Held
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, age, keep, record, shards_of, submit
from tests.stack import Redis, wait_for
from worker.heartbeat import INTERVAL_S, Heartbeat
from worker.watchdog import Watchdog

FREE = 7
LEASE_S = 10


class Process:
    """The attempts and the slots of a process, and all that its heartbeat said to them."""

    def __init__(self) -> None:
        self.jobs: list[Held] = []
        self.asked: list[bool] = []
        """For each beat: whether it was about ended jobs, too."""
        self.told: list[tuple[Held, bytes | int]] = []
        self.answered_beats = 0
        self.settled_at: list[float] = []
        self.on_runs: list[str] = []
        """For each beat: the run of Redis that was met last."""
        self.known_whole: list[tuple[Held, str]] = []
        self.on_held: Callable[[bool], None] = lambda _with_ended: None
        self.wanted: list[int] = []
        """The numbers of jobs for which quarantine processes were wanted."""

    @property
    def reported_free(self) -> int:
        return FREE

    def held(self, *, with_ended: bool, server: str) -> list[Held]:
        self.asked.append(with_ended)
        self.on_runs.append(server)
        self.on_held(with_ended)
        return list(self.jobs)

    def whole(self, found: list[Held], server: str) -> None:
        self.answered_beats += 1
        self.known_whole += [(held, server) for held in found]

    def answered(self, held: Held, answer: bytes | int) -> None:
        self.told.append((held, answer))

    def forget(self, before: float) -> None:
        self.settled_at.append(before)

    def want(self, waiting: int) -> None:
        self.wanted.append(waiting)


class Looks(Watchdog):
    """A watchdog that says what it is told to, and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, bool]] = []
        self.says: str | None = None

    def look(self, passed_s: float, *, could_take: bool) -> str | None:
        self.seen.append((passed_s, could_take))
        return self.says


class Beating:
    """A heartbeat in its thread, with what it is attached to."""

    def __init__(self, link: RedisLink) -> None:
        self.process = Process()
        self.watchdog = Looks()
        self.given_up: list[str] = []
        claims = Claims(shards_of(link), worker="hand", lease_s=LEASE_S, max_attempts=3)
        self.heartbeat = Heartbeat(
            claims,
            self.process,
            self.process,
            self.watchdog,
            self.process,
            give_up=self.given_up.append,
            in_hub=self._in_hub,
        )
        self.thread = threading.Thread(target=self.heartbeat.run)

    def wait_for_beats(self, more: int) -> None:
        """So many beats from now on were answered."""
        wanted = self.process.answered_beats + more
        wait_for(lambda: self.process.answered_beats >= wanted, f"{more} beats")

    @staticmethod
    def _in_hub(run: Callable[..., object], *args: object) -> None:
        """Run it, and the greenlets that it starts, in the heartbeat's thread: no hub runs in a test's."""
        run(*args)
        gevent.sleep(0)


@contextmanager
def beating(
    link: RedisLink, *held: Held, on_held: Callable[[bool], None] = lambda _with_ended: None
) -> Iterator[Beating]:
    """A heartbeat that runs meanwhile."""
    found = Beating(link)
    found.process.jobs = list(held)
    found.process.on_held = on_held
    found.thread.start()
    try:
        yield found
    finally:
        found.heartbeat.stop()
        found.thread.join(60)
        assert not found.thread.is_alive()


@pytest.fixture
def own_redis(directory: Path) -> Iterator[Redis]:
    """A Redis that a test may do anything to, with a file."""
    redis = Redis(directory, aof=True)
    redis.start()
    wait_for(redis.is_ready, "Redis answers")
    yield redis
    redis.close()
    redis.link.close()


def slots(link: RedisLink) -> bytes | None:
    """What Redis knows of the worker's free slots."""
    found: bytes | None = link.call("HGET", f"{prefix(0)}slots", "hand")
    return found


def test_beats_renew_leases_and_say_how_many_slots_are_free(link: RedisLink) -> None:
    """As long as it beats, its jobs' leases are renewed and it counts as alive; when it stops it says that it goes."""
    job = submit(link)
    claim = HandWorker(link).take()
    age(link, job.id, leased_until_ms=1)
    began_s, _us = link.call("TIME")
    with beating(link, Held(job.id, claim.fence, claim.first - 1)) as found:
        found.wait_for_beats(3)
        assert int(record(link, job.id)["leased_until_ms"]) >= (int(began_s) + LEASE_S) * 1000
        assert slots(link) == b"%d" % FREE
        assert found.process.told == []
    assert found.heartbeat.left
    assert slots(link) is None
    assert link.call("ZSCORE", f"{prefix(0)}workers", "hand") is None


def test_beats_tell_what_is_not_as_it_should_be(link: RedisLink) -> None:
    """A job that is somebody else's, one that nobody holds, and one whose log lost entries: each with its answer."""
    worker = HandWorker(link)
    jobs = [submit(link) for _ in range(3)]
    first, _second = worker.take_job(jobs[0].id), worker.take_job(jobs[1].id)
    short, theirs = Held(jobs[0].id, first.fence, 99), Held(jobs[1].id, "another fence", 1)
    queued = Held(jobs[2].id, "f" * 16, 1)
    with beating(link, short, theirs, queued) as found:
        found.wait_for_beats(1)
        assert found.process.told[:3] == [(short, 1), (theirs, b"lost"), (queued, b"unclaimed")]


def test_quarantine_is_wanted_for_jobs_that_wait_in_it(link: RedisLink) -> None:
    """A beat says how many jobs wait in quarantine, if any do."""
    job = submit(link)
    with beating(link) as found:
        found.wait_for_beats(1)
        assert found.process.wanted == []
        worker = HandWorker(link)
        for _ in range(2):
            worker.take_job(job.id)
            age(link, job.id, leased_until_ms=1)
            keep(link)
        wait_for(lambda: found.process.wanted, "quarantine is wanted")
        assert set(found.process.wanted) == {1}


def test_whole_logs_are_known_from_the_second_beat_on(own_redis: Redis) -> None:
    """Only a beat that knows which run of Redis it speaks to can tell that nothing is missing there."""
    link = own_redis.link
    job = submit(link)
    claim = HandWorker(link).take()
    held = Held(job.id, claim.fence, claim.first - 1, claim.first - 1)
    with beating(link, held) as found:
        found.wait_for_beats(3)
        before, run = found.process.on_runs[:2]
        assert before == ""
        assert set(found.process.known_whole) == {(held, run)}
        assert len(found.process.known_whole) < len(found.process.on_runs)
        own_redis.restart()
        found.wait_for_beats(4)
        assert found.process.known_whole[-1] == (held, found.process.on_runs[-1])
        assert found.process.on_runs[-1] != run
        assert found.process.told == []


def test_restart_of_redis_is_noticed(own_redis: Redis) -> None:
    """The first beats on another run of the server ask for what ended, too; only then is anything called settled."""
    with beating(own_redis.link) as found:
        found.wait_for_beats(3)
        assert found.process.asked[:3] == [False, True, False]
        asked, settled = len(found.process.asked), len(found.process.settled_at)
        own_redis.restart()
        found.wait_for_beats(3)
        later = found.process.asked[asked:]
        assert later.count(True) == 1
        began = later.index(True)
        assert set(later[began + 1 :]) == {False}
        # One beat on the old run may have been under way; the one that met the new run settles nothing.
        assert len(found.process.settled_at) - settled < len(found.process.asked) - asked


def test_redis_away_for_a_while(own_redis: Redis) -> None:
    """Beats that fail come no more often than others, the watchdog is told that no job could be taken, and the first
    that gets through is a beat like any."""
    with beating(own_redis.link) as found:
        found.wait_for_beats(2)
        own_redis.kill()
        wait_for(lambda: not found.watchdog.seen[-1][1], "a beat fails")
        began, before = time.monotonic(), len(found.process.asked)
        wait_for(lambda: len(found.process.asked) >= before + 3, "three more")
        assert time.monotonic() - began >= 2 * INTERVAL_S
        own_redis.start()
        found.wait_for_beats(3)
        assert found.watchdog.seen[-1][1]
    assert found.given_up == []


def test_redis_away_again_after_its_first_answer(own_redis: Redis) -> None:
    """A Redis that answers once and is gone again is not asked without a pause."""

    def kill(with_ended: bool) -> None:
        if with_ended and own_redis.running:
            own_redis.kill()

    with beating(own_redis.link, on_held=kill) as found:
        wait_for(lambda: not own_redis.running, "Redis is killed in the middle of its first beats")
        began, before = time.monotonic(), len(found.process.asked)
        wait_for(lambda: len(found.process.asked) >= before + 5, "five more")
        assert time.monotonic() - began >= 4 * INTERVAL_S


def test_process_that_breaks_does_not_end_the_thread(link: RedisLink) -> None:
    """Whatever goes wrong in one beat, the next one comes: all leases of the process hang on it."""

    def breaks(_with_ended: bool) -> None:
        raise RuntimeError("a bug, for the test")

    with beating(link) as found:
        found.wait_for_beats(2)
        found.process.on_held = breaks
        before = len(found.process.asked)
        wait_for(lambda: len(found.process.asked) >= before + 2, "beats that break")
        found.process.on_held = lambda _with_ended: None
        found.wait_for_beats(1)


def test_process_that_stands_still_is_given_up(link: RedisLink) -> None:
    """What the watchdog finds wrong ends the process, in its words."""
    with beating(link) as found:
        found.wait_for_beats(2)
        assert found.given_up == []
        found.watchdog.says = "it stands still"
        wait_for(lambda: found.given_up, "it is given up")
        assert found.given_up[0] == "it stands still"


def test_time_in_which_redis_hangs_is_not_the_hubs(own_redis: Redis) -> None:
    """A beat that took long, as when the whole process was stopped, counts as two beats' time at most."""
    with beating(own_redis.link) as found:
        found.wait_for_beats(2)
        own_redis.pause()
        wait_for(lambda: not found.watchdog.seen[-1][1], "a beat gets no answer")
        own_redis.resume()
        found.wait_for_beats(1)
        assert max(passed_s for passed_s, _could in found.watchdog.seen) <= 2 * INTERVAL_S
