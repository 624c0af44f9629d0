"""The machine's frame: a Redis, its ledger beside it, and what is compared after every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from spool.jobs.claims import Claims
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import ENDED, Status
from spool.jobs.shards import Shard
from spool.models.model import DEMO, Model
from spool.redis.link import RedisLink
from tests.by_hand import shards_of, store_of
from tests.job_model.compare import compare
from tests.job_model.hands import Hand
from tests.job_model.history import History
from tests.job_model.ledger import BATCH_JOBS, LOST_HISTORY, Ledger, ModelJob

LEASE_S = 30.0
MAX_ATTEMPTS = 4
SMALL = Model(name="small", backend="openai", max_running=1)
MODELS = {model.name: model for model in (DEMO, SMALL)}
BATCH = "b0-" + "b" * 26


class Frame(RuleBasedStateMachine):
    """State that all rules share. ``link`` is set by the test, to a Redis that is ours alone."""

    link: ClassVar[RedisLink]

    def __init__(self) -> None:
        super().__init__()
        self.ids = 0
        self.link.call("FLUSHALL")
        self.store = store_of(self.link)
        self.shard = Shard(0, self.link)
        self.ledger = Ledger()
        self.hands: list[Hand] = []
        self.seen: dict[str, dict[int, bytes]] = {}
        """Job → id → the entry that every reader had in time."""
        self.made: set[bytes] = set()
        """Entries that some worker made, or was told of."""
        self.workers: dict[str, str] = {}
        """Living worker → the run of Redis that it met last."""
        self.has_met: set[str] = set()
        """Workers that have said on the run of Redis which they met last all that they have."""
        self.settling = False
        """Redis has just come back, and may give out no job yet."""
        self.names = 0
        self.fences = 0
        for _ in range(3):
            self.new_worker()
        self.store.open_batch(BATCH, "alice", BATCH_JOBS, ttl_s=60, timeout_s=3600)
        self.history = History(self.link)

    def new_worker(self) -> None:
        """A worker process starts, and says so."""
        self.names += 1
        name = f"w:{self.names}:p-{self.names}"
        self.workers[name] = self.claims(name).heartbeat([], free=1, server="").server

    def new_fence(self) -> str:
        """A fence; not by chance, so that the same steps give the same run."""
        self.fences += 1
        return f"{self.fences:016x}"

    def claims(self, worker: str) -> Claims:
        """What this worker calls."""
        return Claims(shards_of(self.link), worker=worker, lease_s=LEASE_S, max_attempts=MAX_ATTEMPTS)

    def pick_job(self, number: int) -> ModelJob:
        """One of the jobs, whatever became of it."""
        jobs = list(self.ledger.jobs.values())
        return jobs[number % len(jobs)]

    def pick_hand(self, number: int) -> Hand | None:
        """One of those that hold a job, as far as they know."""
        holding = [hand for hand in self.hands if hand.holds]
        return holding[number % len(holding)] if holding else None

    def job_of(self, hand: Hand) -> ModelJob | None:
        """The job of a hand; None if Redis has no such job, or nothing that can be read."""
        job = self.ledger.jobs.get(hand.job_id)
        return None if job is None or job.forgotten or job.record_broken else job

    def strays(self, index: str) -> int:
        """Jobs whose records cannot be read, and that an index has until somebody comes past them."""
        broken = [job.id for job in self.ledger.jobs.values() if job.record_broken]
        return sum(self.link.call("ZSCORE", f"spool:{{0}}:{index}", job_id) is not None for job_id in broken)

    # Redis decides within bounds whether a log jumps, and whether it is too early for a claim. These look at what it
    # did before the ledger follows.

    def has_ended_in_redis(self, job: ModelJob) -> bool:
        """Whether its record says that it has ended."""
        return Status(self.link.call("HGET", f"spool:{{0}}:job:{job.id}", "status").decode()) in ENDED

    def new_entries(self, job: ModelJob) -> list[Entry]:
        """What is in the log and not in the ledger."""
        start = "-" if job.log_broken else f"({job.last}-0"
        rows = self.link.call("XRANGE", f"spool:{{0}}:job:{job.id}:log", start, "+")
        return [Entry.decode(fields[1]) for _id, fields in rows]

    def follow_jump(self, job: ModelJob) -> None:
        """Before an end from outside the log may have jumped; a torn one must have."""
        found = self.new_entries(job)
        if found and found[0].kind is Kind.RESTARTED and found[0].fields["reason"] == LOST_HISTORY:
            job.jump(found[0].id)
        assert not job.torn, f"{job.id} ended without a word on what was lost"

    def fails(self, job: ModelJob, code: str) -> None:
        """It has ended ``failed`` from outside."""
        self.must_jump_if_running(job)
        self.follow_jump(job)
        job.fail(code)
        self.has_ended(job)

    def is_cancelled(self, job: ModelJob) -> None:
        """It has ended ``cancelled``."""
        self.must_jump_if_running(job)
        self.follow_jump(job)
        job.cancelled()
        self.has_ended(job)

    def has_ended(self, job: ModelJob) -> None:
        """The books of its batch."""
        if job.new.batch:
            self.ledger.batch_ended.append(job.id)

    @staticmethod
    def must_jump_if_running(job: ModelJob) -> None:
        """Somebody else ends a job whose worker has not said that all is there."""
        if job.status is Status.RUNNING and job.suspect:
            job.torn = True

    @invariant()
    def redis_is_as_the_ledger_says(self) -> None:
        """After every step."""
        compare(self.link, self.ledger, self.seen, BATCH, list(MODELS.values()))
        self.history.note(self.ledger)


def by_number(values: Sequence[Any], number: int) -> Any:
    """One of some values."""
    return values[number % len(values)]
