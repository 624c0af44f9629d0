"""The follower, in a process of its own as in a web: it may lose its doorbell, and never an entry."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spool.following.follower import Follower
from spool.jobs.claims import Claim
from spool.keys import job as job_key
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, done, store_of, submit, tokens
from tests.stack import ROOT, Redis, wait_for


class Following:
    """A process that follows logs, and what it has seen of each."""

    def __init__(self, url: str) -> None:
        argv = [sys.executable, str(Path(__file__).parent / "follow_logs.py"), url]
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.seen: dict[str, list[Any]] = defaultdict(list)
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def follow(self, job_id: str, after: int = 0) -> None:
        """Follow this job, and wait until it does."""
        assert self.process.stdin is not None
        before = self.seen[job_id].count("attached")
        self.process.stdin.write(f"{job_id} {after}\n")
        self.process.stdin.flush()
        wait_for(lambda: self.seen[job_id].count("attached") > before, f"{job_id} is followed")

    def sees(self, job_id: str, expected: list[Any]) -> None:
        """Wait until exactly this has been seen of the job."""
        wait_for(lambda: len(self.seen[job_id]) > len(expected), f"{expected}, not {self.seen[job_id]}")
        assert self.seen[job_id] == ["attached", *expected]

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._listener.join()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            job_id, what = json.loads(line)
            self.seen[job_id].append(what)


@pytest.fixture(scope="module")
def following(redis: Redis) -> Iterator[Following]:
    """One process that follows for all tests here."""
    process = Following(redis.url)
    yield process
    process.close()


@pytest.fixture
def worker(link: RedisLink) -> HandWorker:
    """A worker by hand on an empty Redis."""
    return HandWorker(link)


@pytest.fixture
def claim(link: RedisLink, worker: HandWorker) -> Claim:
    """A claimed job, whose log holds ``started`` as entry 1."""
    submit(link)
    return worker.take()


def subscribed(link: RedisLink, job_id: str) -> bool:
    """Whether somebody hears this log's doorbell."""
    return link.call("PUBSUB", "NUMSUB", f"{job_key(job_id)}:log")[1] > 0  # type: ignore[no-any-return]


def test_follow_what_comes(following: Following, worker: HandWorker, claim: Claim) -> None:
    """A follower gets what was there, what comes, and the end."""
    following.follow(claim.job.id)
    worker.say(claim, "a", "b")
    worker.say(claim, "c")
    worker.finish(claim)
    following.sees(claim.job.id, [1, 2, 3, 4, 5, "ended"])


def test_follow_large_entries(following: Following, worker: HandWorker, claim: Claim) -> None:
    """Entries that no tail keeps come from the stream, each once."""
    following.follow(claim.job.id)
    for _ in range(3):
        worker.say(claim, "x" * 1_100_000, "y")
    worker.finish(claim)
    following.sees(claim.job.id, [*range(1, 9), "ended"])


def test_follow_from_a_cursor(following: Following, worker: HandWorker, claim: Claim) -> None:
    """A follower that comes back gets the next entry."""
    worker.say(claim, "a", "b")
    following.follow(claim.job.id, 2)
    worker.finish(claim)
    following.sees(claim.job.id, [3, 4, "ended"])


def test_follow_from_ahead(following: Following, worker: HandWorker, claim: Claim) -> None:
    """A follower that is ahead of a running log waits until it has caught up."""
    following.follow(claim.job.id, 3)
    worker.say(claim, "a", "b")
    worker.say(claim, "c")
    worker.finish(claim)
    following.sees(claim.job.id, [4, 5, "ended"])


def test_follow_before_the_subscription_is_there(following: Following, worker: HandWorker, claim: Claim) -> None:
    """What is written between the look at the job and the subscription is not missed."""
    for round_number in range(20):
        worker.say(claim, str(round_number))
    following.follow(claim.job.id)
    worker.say(claim, "at once")
    worker.finish(claim)
    following.sees(claim.job.id, [*range(1, 24), "ended"])


def test_doorbell_lost(following: Following, link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """Entries that are written while the doorbell is down arrive, in order and once."""
    following.follow(claim.job.id)
    wait_for(lambda: subscribed(link, claim.job.id), "it is subscribed")
    for part in range(5):
        assert link.call("CLIENT", "KILL", "TYPE", "pubsub") >= 0
        worker.say(claim, f"{part}a", f"{part}b")
        wait_for(lambda: subscribed(link, claim.job.id), "it is subscribed again")
    worker.finish(claim)
    following.sees(claim.job.id, [*range(1, 13), "ended"])


def test_all_connections_lost(following: Following, link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """The same when every connection is lost at once."""
    following.follow(claim.job.id)
    wait_for(lambda: subscribed(link, claim.job.id), "it is subscribed")
    worker.say(claim, "a")
    link.call("CLIENT", "KILL", "TYPE", "pubsub")
    link.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    worker.say(claim, "b")
    worker.finish(claim)
    following.sees(claim.job.id, [1, 2, 3, 4, "ended"])


def test_doorbell_that_is_not_rung(following: Following, link: RedisLink, claim: Claim) -> None:
    """An entry that no doorbell announces is found by looking."""
    following.follow(claim.job.id)
    wait_for(lambda: subscribed(link, claim.job.id), "it is subscribed")
    key = job_key(claim.job.id)
    for entry_id, entry in ((2, tokens(2, "a")[0]), (3, done(3))):
        link.call("XADD", f"{key}:log", f"{entry_id}-0", "entry", entry)
    following.sees(claim.job.id, [1, 2, 3, "ended"])


def test_doorbell_with_a_hole(following: Following, link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """A doorbell that skips entries makes the follower read the stream."""
    following.follow(claim.job.id)
    wait_for(lambda: subscribed(link, claim.job.id), "it is subscribed")
    key, quiet = f"{job_key(claim.job.id)}:log", tokens(2, "a", "b")
    for entry_id, entry in enumerate(quiet, 2):
        link.call("XADD", key, f"{entry_id}-0", "entry", entry)
    link.call("HSET", job_key(claim.job.id), "last", 3)
    worker.finish(claim)
    following.sees(claim.job.id, [1, 2, 3, 4, "ended"])


def test_many_readers_few_connections(following: Following, link: RedisLink, worker: HandWorker) -> None:
    """Many readers of many logs share one subscription and a bounded number of connections."""
    for _ in range(30):
        submit(link)
    claims = [worker.take() for _ in range(30)]
    for claim in claims:
        following.follow(claim.job.id)
        following.follow(claim.job.id, 1)
    for claim in claims:
        worker.say(claim, "x")
        worker.finish(claim)
    for claim in claims:
        wait_for(lambda job_id=claim.job.id: following.seen[job_id].count("ended") == 2, "both have ended")
        entries = [what for what in following.seen[claim.job.id] if isinstance(what, int)]
        assert sorted(entries) == [1, 2, 2, 3, 3]
    clients = [line for line in redis_clients(link) if "follower-under-test" in line]
    assert len(clients) <= 3


def test_gap_while_following(following: Following, link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """Entries that are lost before they were seen are a gap, and what comes after arrives."""
    worker.say(claim, *"abcdef")
    link.call("XDEL", f"{job_key(claim.job.id)}:log", "3-0", "4-0")
    following.follow(claim.job.id)
    worker.finish(claim)
    following.sees(claim.job.id, [1, 2, "gap", 5, 6, 7, 8, "ended"])


def test_log_that_redis_has_cut_back(following: Following, link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """Redis came back without entries that this process has seen: a reader that attaches behind them waits until they
    are sent again, as one does that has them, and neither is told of a gap."""
    job_id, key = claim.job.id, job_key(claim.job.id)
    worker.say(claim, "a", "b")
    kept = {part: link.call("DUMP", key + part) for part in ("", ":log", ":text")}
    following.follow(job_id)
    for first in (4, 104, 204):
        worker.say(claim, *["x"] * 100)
        wait_for(lambda last=first + 99: following.seen[job_id][-1] == last, "the follower has it")
    for part, value in kept.items():
        link.call("RESTORE", key + part, 0, value, "REPLACE")
    following.follow(job_id)
    wait_for(lambda: following.seen[job_id][-4:] == ["attached", 1, 2, 3], "a new one has what there is")
    assert worker.append(claim, 4, tokens(4, *["x"] * 300), text="x" * 300) == 303
    worker.finish(claim)
    wait_for(lambda: following.seen[job_id].count("ended") == 2, "both have ended")
    assert "gap" not in following.seen[job_id]
    entries = [what for what in following.seen[job_id] if isinstance(what, int)]
    assert sorted(entries) == sorted([*range(1, 305)] * 2)


def test_redis_that_refuses_to_read(following: Following, link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """A server that refuses for a while (a replica without its primary) says nothing about a log: it is not gone."""
    following.follow(claim.job.id)
    wait_for(lambda: subscribed(link, claim.job.id), "it is subscribed")
    link.call("CONFIG", "SET", "replica-serve-stale-data", "no")
    link.call("REPLICAOF", "127.0.0.1", 1)
    try:
        before = read_errors(link)
        link.call("CLIENT", "KILL", "TYPE", "pubsub")
        wait_for(lambda: read_errors(link) > before + 2, "it has tried to read")
    finally:
        link.call("REPLICAOF", "NO", "ONE")
        link.call("CONFIG", "SET", "replica-serve-stale-data", "yes")
    worker.finish(claim)
    following.sees(claim.job.id, [1, 2, "ended"])


def test_job_that_is_there_again(following: Following, link: RedisLink, worker: HandWorker, claim: Claim) -> None:
    """A job whose record was missing for a moment ends its readers; whoever comes back then reads on."""
    key = job_key(claim.job.id)
    following.follow(claim.job.id)
    wait_for(lambda: following.seen[claim.job.id] == ["attached", 1], "it has what there is")
    link.call("RENAME", key, "elsewhere")
    link.call("CLIENT", "KILL", "TYPE", "pubsub")
    wait_for(lambda: following.seen[claim.job.id][-1] == "ended", "it was told that the job is gone")
    link.call("RENAME", "elsewhere", key)
    following.follow(claim.job.id, 1)
    worker.say(claim, "a")
    worker.finish(claim)
    wait_for(lambda: following.seen[claim.job.id].count("ended") == 2, "the end")
    assert following.seen[claim.job.id] == ["attached", 1, "gap", "ended", "attached", 2, 3, "ended"]


def test_readers_of_an_end_that_redis_lost(link: RedisLink, claim: Claim) -> None:
    """Where a new reader shows that an end was lost, those who had not taken it yet hear of the next one with it."""
    follower = Follower(link)
    job = store_of(link).look(claim.job.id, OWNER)
    slow = follower.attach(job, 0)
    slow.feed.ended = True
    after_it = follower.attach(job, 0)
    assert slow.feed is after_it.feed
    assert not slow.feed.ended
    assert slow.feed.readers == {slow, after_it}


def test_something_else_in_a_logs_place(
    following: Following, link: RedisLink, worker: HandWorker, claim: Claim
) -> None:
    """A log that cannot be read is no reason to end: the job's next attempt puts a log there again."""
    key = f"{job_key(claim.job.id)}:log"
    following.follow(claim.job.id)
    wait_for(lambda: following.seen[claim.job.id] == ["attached", 1], "it has what there is")
    link.pipeline([("DEL", key), ("SET", key, "no log"), ("CLIENT", "KILL", "TYPE", "pubsub")])
    wait_for(lambda: subscribed(link, claim.job.id), "it is subscribed again")
    link.call("DEL", key)
    worker.say(claim, "a")
    worker.finish(claim)
    following.sees(claim.job.id, [1, 2, 3, "ended"])


def read_errors(link: RedisLink) -> int:
    """How many reads this Redis has refused for want of a primary."""
    for line in link.call("INFO", "errorstats").decode().splitlines():
        if line.startswith("errorstat_MASTERDOWN"):
            return int(line.partition("count=")[2])
    return 0


def redis_clients(link: RedisLink) -> list[str]:
    """One line per connection to this Redis."""
    lines: list[str] = link.call("CLIENT", "LIST").decode().splitlines()
    return lines
