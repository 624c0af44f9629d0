"""The policy of the queue without Redis: which job a claim gets, and what flows are charged (docs/queue.md)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

UNIT = 1000
ANSWER_TOKENS = 500
DELAY_AT_MOST = 8
Place = tuple[str, str]
"""A class and a model."""


@dataclass(frozen=True)
class Wish:
    """What a submit says about its place in the queue."""

    owner: str
    key: str
    weight: float
    batch: bool
    model: str
    prompt_tokens: int
    max_tokens: int | None

    @property
    def flow(self) -> str:
        """The name of its flow."""
        return f"{self.class_name}:{self.owner}:{self.key}"

    @property
    def class_name(self) -> str:
        """The name of its class."""
        return "batch" if self.batch else "interactive"

    def virtual(self, tokens: int) -> int:
        """The virtual time of so many tokens."""
        return math.floor(tokens * UNIT / self.weight + 0.5)


@dataclass
class QueuedJob:
    """A job that has not ended."""

    id: str
    order: int
    wish: Wish
    charge: int = 0
    """0: not charged yet."""
    running: bool = False
    is_retry: bool = False
    near: int | None = None
    """The time by which it must begin, once that is near."""

    @property
    def place(self) -> tuple[bool, int, int]:
        """Its place in its flow."""
        return self.near is None, self.near or 0, self.order


@dataclass
class Flow:
    """Virtual times at each model and over all ("")."""

    times: dict[str, int] = field(default_factory=dict)
    unsettled: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass
class FairQueue:
    """The whole queue. ``limits`` are those of the models (0: none)."""

    limits: dict[str, int]
    reserve: float
    batch_every: int
    jobs: dict[str, QueuedJob] = field(default_factory=dict)
    flows: dict[str, Flow] = field(default_factory=lambda: defaultdict(Flow))
    clocks: dict[Place, int] = field(default_factory=lambda: defaultdict(int))
    averages: dict[str, int] = field(default_factory=dict)
    submits: int = 0
    passed: int = 0

    def waiting(self, flow: str, model: str) -> list[QueuedJob]:
        """The jobs of a flow that wait for their first attempt, in their order."""
        jobs = self.jobs.values()
        return [j for j in jobs if not (j.running or j.is_retry) and (j.wish.flow, j.wish.model) == (flow, model)]

    def submit(self, job_id: str, wish: Wish) -> None:
        """A job comes. If its flow was empty, it begins at the clock, or at its own time if that is later."""
        self.submits += 1
        if not self.waiting(wish.flow, wish.model):
            place, flow = (wish.class_name, wish.model), self.flows[wish.flow]
            self.clocks[place] += 1
            flow.times[wish.model] = max(flow.times.get(wish.model, 0), self.clocks[place])
            flow.times[""] = max(flow.times.get("", 0), self.clocks[wish.class_name, ""])
        self.jobs[job_id] = QueuedJob(job_id, self.submits, wish)

    # Claims.

    def has_room(self, model: str, *, batch: bool) -> bool:
        """Whether another job of the class may begin."""
        limit = self.limits[model]
        running = [job for job in self.jobs.values() if job.running and job.wish.model == model]
        if not limit:
            return True
        most = max(1, limit - math.ceil(limit * self.reserve - 1e-9))
        return len(running) < limit and (not batch or sum(job.wish.batch for job in running) < most)

    def next(self, models: Iterable[str]) -> QueuedJob | None:
        """The job that a claim for these models gets."""
        models = list(models)
        retries = [j for j in self.jobs.values() if j.is_retry and not j.running and j.wish.model in models]
        retries = [job for job in retries if self.has_room(job.wish.model, batch=False)]
        if retries:
            return min(retries, key=lambda job: job.order)
        is_due = self.batch_waits(models) and 0 < self.batch_every <= self.passed + 1
        for batch in (True, False) if is_due else (False, True):
            heads = [head for model in models if (head := self.head(model, batch=batch)) is not None]
            if heads:
                return min(heads, key=lambda job: (self.flows[job.wish.flow].times[""], job.place))
        return None

    def head(self, model: str, *, batch: bool) -> QueuedJob | None:
        """The first job of the flow that is next at this model."""
        if not self.has_room(model, batch=batch):
            return None
        jobs = [job for job in self.jobs.values() if job.wish.model == model and job.wish.batch == batch]
        jobs = [job for job in jobs if not (job.running or job.is_retry)]
        jobs.sort(key=lambda job: (self.flows[job.wish.flow].times[model], job.wish.flow.encode(), job.place))
        return jobs[0] if jobs else None

    def batch_waits(self, models: Iterable[str]) -> bool:
        """Whether batch jobs wait for one of these models."""
        waiting = (job for job in self.jobs.values() if job.wish.batch and not (job.running or job.is_retry))
        return any(job.wish.model in models for job in waiting)

    def begin(self, job: QueuedJob, models: Iterable[str]) -> None:
        """A claim gets this job."""
        wish, flow = job.wish, self.flows[job.wish.flow]
        if not job.is_retry:
            if wish.batch:
                self.passed = 0
            elif self.batch_waits(models):
                self.passed += 1
            for name in (wish.model, ""):
                settled = flow.times.get(name, 0) - flow.unsettled[name]
                self.clocks[wish.class_name, name] = max(0, settled)
        if not job.charge:
            average = self.averages.get(wish.model, ANSWER_TOKENS)
            answer = average if wish.max_tokens is None else min(wish.max_tokens, average)
            job.charge = max(1, wish.prompt_tokens + answer)
            for name in (wish.model, ""):
                flow.times[name] = flow.times.get(name, 0) + wish.virtual(job.charge)
                flow.unsettled[name] += wish.virtual(job.charge)
        job.running, job.is_retry = True, False

    def give_up(self, job_id: str) -> None:
        """Its worker hands it back, or dies."""
        self.jobs[job_id].running, self.jobs[job_id].is_retry = False, True

    # Ends.

    def end(self, job_id: str, used: int) -> None:
        """A job ends that has used so many tokens."""
        job = self.jobs.pop(job_id)
        wish, flow = job.wish, self.flows[job.wish.flow]
        if not job.charge:
            return
        more = wish.virtual(used)
        for name in flow.times:
            if name in (wish.model, ""):
                flow.times[name] = max(0, flow.times[name] - wish.virtual(job.charge) + more)
                flow.unsettled[name] = max(0, flow.unsettled[name] - wish.virtual(job.charge))
            else:
                most = self.clocks[wish.class_name, name] + DELAY_AT_MOST * more
                flow.times[name] = max(flow.times[name], min(flow.times[name] + more, most))

    def note_answer(self, model: str, tokens: int) -> None:
        """The average of a model's answers follows one of them."""
        average = self.averages.get(model, tokens)
        new = math.ceil(average + (tokens - average) / 10)
        if model not in self.averages or abs(new - average) > average / 50:
            self.averages[model] = new
