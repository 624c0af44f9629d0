"""Random submits, claims, ends and losses under limits of owners that change, through the real scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spool.jobs.claims import Claim
from spool.jobs.job import Priority
from spool.jobs.scheduling import Scheduling
from spool.keys import prefix
from spool.models.model import Model
from spool.owners.limits import NO_OWNERS, Owners, Rates, Section
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, age, done, keep, ledger_of, new_job, record, store_of

P = prefix(0)
NUMBER = st.integers(0, 9)
MODELS = {name: Model(name=name, backend="demo") for name in ("one", "two")}
OWNERS = ("ann", "bob")
KEYS = ("", "k", "l")
MOST_JOBS = 16
LIMIT = st.sampled_from([None, 0, 1, 2, 3])
RATE = st.sampled_from([None, None, None, 0, 20, 60])
RATES = st.builds(Rates, LIMIT, RATE, st.sampled_from([None, None, None, 20_000]))
SECTION = st.builds(
    Section,
    rates=RATES,
    fairness_key_max_running=st.sampled_from([0, 0, 1, 2]),
    models=st.dictionaries(st.sampled_from(list(MODELS)), RATES, max_size=2),
)


@dataclass
class LimitedJob:
    """A job that has not ended."""

    id: str
    owner: str
    key: str
    model: str
    claim: Claim | None = None
    """None while it waits."""


class LimitMachine(RuleBasedStateMachine):
    """``link`` is set by the test, to a Redis that is ours alone."""

    link: ClassVar[RedisLink]

    def __init__(self) -> None:
        super().__init__()
        self.link.call("FLUSHALL")
        self.store, self.worker = store_of(self.link), HandWorker(self.link, max_attempts=99)
        self.jobs: dict[str, LimitedJob] = {}
        self.died: set[str] = set()
        self.owners = NO_OWNERS
        self.ids = 0

    @precondition(lambda self: len(self.jobs) < MOST_JOBS)
    @rule(
        owner=st.sampled_from(OWNERS),
        key=st.sampled_from(KEYS),
        model=st.sampled_from(list(MODELS)),
        priority=st.sampled_from(Priority),
        count=st.integers(1, 4),
    )
    def submit(self, owner: str, key: str, model: str, priority: Priority, count: int) -> None:
        """Some jobs of an owner's fairness key."""
        for _ in range(count):
            self.ids += 1
            job = LimitedJob(f"j0-{self.ids:026d}", owner, key, model)
            new = new_job(
                id=job.id, owner=owner, model=model, priority=priority, scheduling=Scheduling(fairness_key=key)
            )
            self.store.submit(new, max_queued=999)
            self.jobs[job.id] = job

    @rule(sections=st.dictionaries(st.sampled_from([*OWNERS, ""]), SECTION, max_size=3))
    def change_limits(self, sections: dict[str, Section]) -> None:
        """The owners file changes, or is removed; the keeper notices within a round."""
        default = sections.pop("", Section())
        self.owners = Owners(default, sections) if sections or default != Section() else NO_OWNERS
        self.store.publish_owners(self.owners)
        keep(self.link, lease_ms=60_000)

    @rule(names=st.sampled_from(["one two", "one two", "one", "two"]))
    def claim(self, names: str) -> None:
        """A claim gets a job whose limits allow it, if there is one."""
        models = names.split()
        before_ms = self.now_ms()
        levels = self.levels(before_ms)
        claim = self.worker.claim(*(MODELS[name] for name in models))
        if claim is None:
            waiting = [job for job in self.jobs.values() if job.claim is None and job.model in models]
            may_begin = [job.id for job in waiting if self.allows(job) and self.has_tokens(job, levels)]
            assert not may_begin, "jobs wait although they may begin"
            return
        job = self.jobs[claim.job.id]
        assert job.claim is None, "claimed twice"
        assert self.allows(job), "more jobs run than may"
        # What has flowed in until now is at least what had when the claim looked.
        later = {name: self.level(raw, self.now_ms()) for name, raw in self.before.items()}
        assert self.has_tokens(job, later), "a rate is exceeded"
        job.claim = claim

    def allows(self, job: LimitedJob) -> bool:
        """Whether the limits of running jobs allow another one like this."""
        section = self.owners.of(job.owner)
        running = [one for one in self.jobs.values() if one.claim and one.owner == job.owner]
        at_model = section.models.get(job.model, Rates())
        counts = [
            (section.rates.max_running, len(running)),
            (at_model.max_running, sum(one.model == job.model for one in running)),
            (job.key and section.fairness_key_max_running, sum(one.key == job.key for one in running)),
        ]
        return all(not limit or count < limit for limit, count in counts)  # type: ignore[operator]

    def has_tokens(self, job: LimitedJob, levels: dict[str, float]) -> bool:
        """Whether each bucket of the job has a whole request or token; a full one is not stored."""
        section = self.owners.of(job.owner)
        scopes = {job.owner: section.rates, f"{job.owner}:{job.model}": section.models.get(job.model, Rates())}
        names = [
            f"owner-bucket:{kind}:{scope}"
            for scope, rates in scopes.items()
            for kind in ("rpm", "tpm")
            if getattr(rates, kind)
        ]
        return all(levels.get(name, 1.0) >= 1 for name in names)

    def levels(self, now_ms: int) -> dict[str, float]:
        """What the stored buckets have at this time."""
        names = [raw.decode().removeprefix(P) for raw in self.link.call("KEYS", f"{P}owner-bucket:*")]
        fields = ("left", "at_ms", "most", "a_minute")
        self.before = {
            name: [float(raw) for raw in self.link.call("HMGET", f"{P}{name}", *fields) if raw is not None]
            for name in names
        }
        return {name: self.level(raw, now_ms) for name, raw in self.before.items()}

    def level(self, raw: list[float], now_ms: int) -> float:
        """What a bucket has at this time; one that has just expired is full."""
        if not raw:
            return 1.0
        left, at_ms, most, a_minute = raw
        # The numbers are stored to three places.
        return min(most, left + (now_ms - at_ms) * a_minute / 60_000) + 0.001

    def now_ms(self) -> int:
        """Redis's clock."""
        seconds, micros = self.link.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    @rule()
    def pass_time(self) -> None:
        """A minute passes for the rates."""
        for raw in self.link.call("KEYS", f"{P}owner-bucket:*"):
            self.link.call("DEL", raw)
        for owner in self.link.call("ZRANGE", f"{P}rated", 0, -1):
            self.link.call("ZADD", f"{P}rated", 1, owner)

    def running(self, number: int) -> LimitedJob:
        """One of the running jobs."""
        found = [job for job in self.jobs.values() if job.claim]
        return found[number % len(found)]

    @precondition(lambda self: any(job.claim for job in self.jobs.values()))
    @rule(number=NUMBER, tokens=st.sampled_from([0, 90, 2000]), succeeds=st.booleans())
    def end(self, number: int, tokens: int, succeeds: bool) -> None:
        """A worker ends a job, and says what it used."""
        job = self.running(number)
        assert job.claim is not None
        first = int(record(self.link, job.id)["last"]) + 1
        ending = {
            "status": "succeeded" if succeeds else "failed",
            "usage": {"input_tokens": 5, "output_tokens": tokens},
        }
        assert self.worker.append(job.claim, first, [done(first)], ending=orjson.dumps(ending)) == first
        del self.jobs[job.id]

    @precondition(lambda self: any(job.claim for job in self.jobs.values()))
    @rule(number=NUMBER, dies=st.booleans())
    def lose(self, number: int, dies: bool) -> None:
        """A worker hands its job back; or dies, and the keeper notices."""
        job = self.running(number)
        assert job.claim is not None
        if dies and job.id not in self.died:
            # After a second death it would wait in the quarantine.
            self.died.add(job.id)
            age(self.link, job.id, leased_until_ms=1)
            keep(self.link, lease_ms=60_000)
        else:
            assert self.worker.claims.hand_back(job.id, job.claim.fence, counts=False) == "queued"
        job.claim = None

    @precondition(lambda self: self.jobs)
    @rule(number=NUMBER)
    def cancel(self, number: int) -> None:
        """A caller cancels a job; if it runs, its worker notices with its next beat."""
        job = list(self.jobs.values())[number % len(self.jobs)]
        self.store.cancel(job.id, job.owner)
        if job.claim:
            assert self.worker.beat(job.claim) == [b"cancelled"]
        del self.jobs[job.id]

    @invariant()
    def redis_counts_what_runs(self) -> None:
        """Each scope counts the jobs that run in it, and no others."""
        counted: dict[str, set[str]] = {}
        for job in self.jobs.values():
            if job.claim:
                counted.setdefault(f"owner-running:{job.owner}:{job.model}", set()).add(job.id)
                if job.key:
                    counted.setdefault(f"key-running:{job.owner}:{job.key}", set()).add(job.id)
        found = {
            raw.decode().removeprefix(P): {member.decode() for member in self.link.call("SMEMBERS", raw)}
            for raw in self.link.call("KEYS", f"{P}*-running:*")
        }
        assert {name: ids for name, ids in found.items() if not name.startswith("batch-")} == counted

    def teardown(self) -> None:
        """Every job gets its turn once the limits are gone, and then nothing is counted or parked."""
        self.change_limits({})
        for _ in range(3 * MOST_JOBS):
            self.claim("one two")
            if any(job.claim for job in self.jobs.values()):
                self.end(0, 10, True)
        assert not self.jobs, "a job had no turn"
        keep(self.link, lease_ms=60_000)
        assert self.link.call("KEYS", f"{P}*-running:*") == []
        for pattern in ("held*", "heads:*", "flow:*", "retries:*"):
            assert self.link.call("KEYS", P + pattern) == [], pattern
        for name, figures in ledger_of(self.link).items():
            assert figures[:2] == [0, 0], name
        super().teardown()
