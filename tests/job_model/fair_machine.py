"""Random submits, claims, ends and losses of several owners through the real scripts, beside the policy in Python."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import ClassVar

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spool.jobs.claims import Claim, Claims
from spool.jobs.class_shares import ClassShares
from spool.jobs.job import NewJob, Priority
from spool.jobs.scheduling import Scheduling
from spool.keys import job as job_key
from spool.keys import prefix
from spool.models.model import Model
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, age, done, keep, new_job, record, shards_of, store_of
from tests.job_model.fair_queue import FairQueue, QueuedJob, Wish

P = prefix(0)
NUMBER = st.integers(0, 9)
MODELS = {model.name: model for model in (Model(name="wide", backend="demo"), Model("narrow", "demo", max_running=2))}
BATCH_EVERY = 3
MOST_JOBS = 14
FAR_S = 3000.0
OWNERS = ("ann", "bob", "eve")


class FairMachine(RuleBasedStateMachine):
    """``link`` is set by the test, to a Redis that is ours alone. ``owner_limit`` is one of running jobs (0: none)."""

    link: ClassVar[RedisLink]
    owner_limit: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.link.call("FLUSHALL")
        if self.owner_limit:
            self.link.call("HSET", f"{P}limits", "owner_running", self.owner_limit)
        self.store, self.worker = store_of(self.link), HandWorker(self.link, max_attempts=99)
        shares = ClassShares(batch=1 / BATCH_EVERY)
        self.claims = Claims(shards_of(self.link), worker="hand", lease_s=10.0, max_attempts=99, shares=shares)
        self.worker.claims = self.claims
        self.queue = FairQueue({name: model.max_running for name, model in MODELS.items()}, shares.reserve, BATCH_EVERY)
        self.running: dict[str, Claim] = {}
        self.died: set[str] = set()
        self.ids = 0

    @precondition(lambda self: len(self.queue.jobs) < MOST_JOBS)
    @rule(
        owner=st.sampled_from(OWNERS),
        key=st.sampled_from(["", "", "k"]),
        weight=st.sampled_from([None, None, 0.1, 0.5, 1.0]),
        priority=st.sampled_from(Priority),
        model=st.sampled_from(list(MODELS)),
        max_tokens=st.sampled_from([None, 7, 100, 3000]),
        size=st.sampled_from([1, 200, 5000]),
        within_s=st.sampled_from([None, FAR_S]),
        count=st.integers(1, 3),
    )
    def submit(
        self,
        owner: str,
        key: str,
        weight: float | None,
        priority: Priority,
        model: str,
        max_tokens: int | None,
        size: int,
        within_s: float | None,
        count: int,
    ) -> None:
        """Some equal jobs of an owner."""
        params = {} if max_tokens is None else {"max_tokens": max_tokens}
        said = {"messages": [{"role": "user", "content": "x" * size}], "params": params}
        scheduling = Scheduling(fairness_key=key, fairness_weight=weight, start_within_s=within_s)
        for _ in range(count):
            self.ids += 1
            new = new_job(id=f"j0-{self.ids:026d}", owner=owner, model=model, priority=priority, input=said)
            self._submit(new, scheduling, max_tokens)

    def _submit(self, new: NewJob, scheduling: Scheduling, max_tokens: int | None) -> None:
        self.store.submit(replace(new, scheduling=scheduling), max_queued=999)
        wish = Wish(
            owner=new.owner,
            key=scheduling.fairness_key,
            weight=scheduling.fairness_weight or 1.0,
            batch=new.priority is Priority.BATCH,
            model=new.model,
            prompt_tokens=math.ceil(len(new.encode_input()) / 4),
            max_tokens=max_tokens,
        )
        self.queue.submit(new.id, wish)

    @rule(names=st.sampled_from(["wide narrow", "wide narrow", "wide", "narrow"]), again=st.booleans())
    def claim(self, names: str, again: bool) -> None:
        """A claim; with ``again`` its answer is lost, and it is repeated."""
        models = names.split()
        fence = self._new_fence()
        served = [MODELS[name] for name in models]
        claim = self.worker.claim(*served, fence=fence)
        if claim is not None and again:
            repeated = self.worker.claim(*served, fence=fence)
            assert repeated is not None
            assert repeated.job.id == claim.job.id
        job = self.queue.jobs[claim.job.id] if claim else None
        if self.owner_limit:
            self.is_allowed(job, models)
        else:
            wanted = self.queue.next(models)
            assert (job and job.id) == (wanted and wanted.id)
        if job is not None and claim is not None:
            assert job.id not in self.running, "claimed twice"
            self.queue.begin(job, models)
            self.running[job.id] = claim

    def _new_fence(self) -> str:
        self.ids += 1
        return f"{self.ids:016x}"

    def is_allowed(self, job: QueuedJob | None, models: list[str]) -> None:
        """With a limit of each owner's running jobs: no owner is above it, and a claim finds nothing only if no job may
        begin."""
        running = Counter(one.wish.owner for one in self.queue.jobs.values() if one.running)
        may_begin = [
            one
            for one in self.queue.jobs.values()
            if not one.running
            and one.wish.model in models
            and running[one.wish.owner] < self.owner_limit
            and self.queue.has_room(one.wish.model, batch=one.wish.batch and not one.is_retry)
        ]
        if job is None:
            assert not may_begin, "a job waits although it may begin"
        else:
            assert job in may_begin
            ahead = [one for one in may_begin if (one.wish.flow, one.wish.model) == (job.wish.flow, job.wish.model)]
            assert job.is_retry or not any(one.place < job.place and not one.is_retry for one in ahead)

    @precondition(lambda self: self.running)
    @rule(number=NUMBER, tokens=st.sampled_from([0, 3, 90, 800]), succeeds=st.booleans())
    def end(self, number: int, tokens: int, succeeds: bool) -> None:
        """A worker ends a job, and says what it used."""
        job_id = list(self.running)[number % len(self.running)]
        claim = self.running.pop(job_id)
        first = int(record(self.link, job_id)["last"]) + 1
        status = "succeeded" if succeeds else "failed"
        ending = orjson.dumps({"status": status, "usage": {"input_tokens": 5, "output_tokens": tokens}})
        assert self.worker.append(claim, first, [done(first)], ending=ending) == first
        if succeeds:
            self.queue.note_answer(claim.job.model, tokens)
        self.queue.end(job_id, 5 + tokens)

    @precondition(lambda self: self.running)
    @rule(number=NUMBER, words=st.integers(1, 40))
    def say(self, number: int, words: int) -> None:
        """A worker appends some text."""
        claim = list(self.running.values())[number % len(self.running)]
        self.worker.say(claim, *["word "] * words)

    @precondition(lambda self: self.running)
    @rule(number=NUMBER, dies=st.booleans())
    def lose(self, number: int, dies: bool) -> None:
        """A worker hands its job back; or dies, and the keeper notices."""
        job_id = list(self.running)[number % len(self.running)]
        if dies and job_id in self.died:
            # After a second death it would wait in the quarantine.
            return
        claim = self.running.pop(job_id)
        if dies:
            self.died.add(job_id)
            age(self.link, job_id, leased_until_ms=1)
            keep(self.link, lease_ms=60_000)
        else:
            assert self.claims.hand_back(job_id, claim.fence, counts=False) == "queued"
        self.queue.give_up(job_id)

    @precondition(lambda self: self.queue.jobs)
    @rule(number=NUMBER)
    def cancel(self, number: int) -> None:
        """A caller cancels a job; if it runs, its worker notices with its next beat."""
        job_id = list(self.queue.jobs)[number % len(self.queue.jobs)]
        self.store.cancel(job_id, self.queue.jobs[job_id].wish.owner)
        if job_id in self.running:
            assert self.worker.beat(self.running.pop(job_id)) == [b"cancelled"]
        self.queue.end(job_id, self.used(job_id))

    def used(self, job_id: str) -> int:
        """What a job has used as its log shows."""
        stored, wish = record(self.link, job_id), self.queue.jobs[job_id].wish
        text = self.link.call("STRLEN", f"{job_key(job_id)}:text")
        entries = int(stored["last"]) - int(stored.get("attempt_first", 0))
        return wish.prompt_tokens + max(entries, math.ceil(text / 4))

    @precondition(lambda self: any(map(self.may_come_near, self.queue.jobs.values())))
    @rule(number=NUMBER)
    def come_near(self, number: int) -> None:
        """Half of a job's time to begin has passed, and the keeper looks at it."""
        jobs = [job for job in self.queue.jobs.values() if self.may_come_near(job)]
        job = jobs[number % len(jobs)]
        age(self.link, job.id, created_ms=1)
        self.link.call("ZADD", f"{P}deadlines", "XX", 1, job.id)
        keep(self.link, lease_ms=60_000)
        job.near = int(record(self.link, job.id)["start_by_ms"])

    def may_come_near(self, job: QueuedJob) -> bool:
        """Whether a job waits for its first attempt, and has a time to begin."""
        is_new = not (job.running or job.is_retry or job.near)
        return is_new and "start_within_s" in record(self.link, job.id)

    @rule()
    def keep(self) -> None:
        """A round of the keeper changes nothing."""
        keep(self.link, lease_ms=60_000)

    @invariant()
    def redis_is_as_the_policy_says(self) -> None:
        """Virtual times, unsettled charges and the states of all jobs are those of the policy."""
        for name, flow in self.queue.flows.items():
            told = {f"@{model}": time for model, time in flow.times.items()}
            told |= {f"+{model}": charge for model, charge in flow.unsettled.items() if charge}
            raw = self.link.call("HGETALL", f"{P}virtual:{name}")
            found = {raw[n].decode(): int(raw[n + 1]) for n in range(0, len(raw), 2)}
            assert {key: value for key, value in found.items() if key[0] == "@" or value} == told, name
        for job in self.queue.jobs.values():
            assert record(self.link, job.id)["status"] == ("running" if job.running else "queued")

    def teardown(self) -> None:
        """Every job that was accepted gets its turn, once, and then every charge is settled."""
        for _ in range(2 * MOST_JOBS + 9):
            self.claim("wide narrow", again=False)
            if self.running:
                self.end(0, 10, True)
        assert not self.queue.jobs, "a job had no turn"
        for key in self.link.call("KEYS", f"{P}virtual:*"):
            raw = self.link.call("HGETALL", key)
            charges = {raw[n]: raw[n + 1] for n in range(0, len(raw), 2) if raw[n].startswith(b"+")}
            assert set(charges.values()) <= {b"0"}, "charges are not settlements"
        assert self.link.call("KEYS", f"{P}heads:*") == self.link.call("KEYS", f"{P}held*") == []
        super().teardown()
