"""What a random schedule consists of, drawn from its seed alone: jobs with their readers, and what happens when.

The same seed gives the same plan. The processes' timing is their own, so a plan that found something is to be run more
than once.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.transports import TRANSPORTS

EVENTS: Mapping[str, tuple[float, float, float]] = {
    # kind: how often (a weight), and for how many seconds at least and at most it holds
    "worker_kill": (5, 0.0, 2.0),
    "worker_term": (3, 0.0, 1.0),
    "worker_stop": (3, 2.3, 3.5),
    "web_kill": (4, 0.0, 1.0),
    "web_term": (3, 0.0, 0.5),
    "redis_term": (2, 0.0, 1.0),
    "redis_kill": (2, 0.0, 1.0),
    "redis_pause": (1, 0.2, 1.5),
    "redis_cut": (3, 0.0, 0.0),
    "broker_cut": (3, 0.0, 0.0),
    "script_flush": (2, 0.0, 0.0),
    "pubsub_kill": (2, 0.0, 0.0),
}
"""What may happen to a stack. A worker that is stopped is so for longer than its lease of 2 s."""
SPAN_S = 3.0
OWNERS = ("alice", "bob", "carol")
_FLOWS: tuple[Mapping[str, Any], ...] = ({}, {"fairness_key": "a"}, {"fairness_key": "b", "fairness_weight": 5.0})
_COALESCE: tuple[Mapping[str, Any], ...] = (
    {"ms": 100},
    {"ms": 1000, "chars": 50},
    {"ms": 2000, "sentence_end": True},
    {"ms": 10_000, "chars": 8192},
)


@dataclass(frozen=True, slots=True)
class ReaderPlan:
    """A reader: when it attaches (from its job's submit), where it begins, and after how many entries it leaves."""

    at_s: float
    transport: str
    after: int
    leave_after: int | None


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job of the demo: when it is submitted, and if so when its cancel is (from its submit). ``flow`` has the fields
    that put it into a flow of its owner."""

    at_s: float
    prompt: str
    params: Mapping[str, Any]
    priority: str
    coalesce: Mapping[str, Any] | None
    cancel_at_s: float | None
    readers: tuple[ReaderPlan, ...]
    owner: str = OWNERS[0]
    flow: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        cancel = "" if self.cancel_at_s is None else f", cancelled after {self.cancel_at_s:.2f} s"
        readers = ", ".join(f"{r.transport} after {r.after} at {r.at_s:.2f} s" for r in self.readers)
        coalesce = "" if self.coalesce is None else f", coalesced {dict(self.coalesce)}"
        whose = f" of {self.owner}, {self.priority}, {dict(self.flow)}"
        return f"at {self.at_s:.2f} s {dict(self.params)}{whose}{coalesce}{cancel}: {readers}"


@dataclass(frozen=True, slots=True)
class EventPlan:
    """Something that happens to the part with this number, and holds for so long."""

    at_s: float
    kind: str
    number: int
    hold_s: float

    def __str__(self) -> str:
        return f"{self.at_s:.2f} s {self.kind} {self.number} for {self.hold_s:.2f} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """All of it, in the order of time."""

    seed: int
    jobs: tuple[JobPlan, ...]
    events: tuple[EventPlan, ...]

    @property
    def one_loss(self) -> bool:
        """Whether one worker goes, and neither the other one nor Redis: the time to recover then says something."""
        return sum(event.kind.startswith(("worker", "redis_t", "redis_k", "redis_p")) for event in self.events) == 1

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}", *(f"  {event}" for event in self.events)])


def schedule(seed: int) -> Schedule:
    """The schedule of this seed."""
    chance = random.Random(seed)
    # Turned by the seed and dealt in turn, so that every schedule has every transport.
    deck = list(TRANSPORTS)
    chance.shuffle(deck)
    jobs = tuple(_job(chance, seed, number, deck) for number in range(chance.randint(10, 15)))
    return Schedule(seed, jobs, _events(chance))


def _job(chance: random.Random, seed: int, number: int, deck: list[str]) -> JobPlan:
    params: dict[str, Any] = {"seed": number, "rate": chance.choice([0, 20, 50, 100, 200])}
    params["first_token_s"] = chance.choice([0.0, 0.1, 0.5, 1.0])
    params["tokens"] = int(params["rate"] * chance.uniform(0.2, 2.5)) or chance.randint(1, 1500)
    if chance.random() < 0.15:
        params["reasoning"] = chance.randint(1, 30)
    if chance.random() < 0.1:
        params["fail_after"] = chance.randint(0, params["tokens"])
    # Not drawn: every other draw of a seed is as it was before there was this.
    coalesce = _COALESCE[seed % len(_COALESCE)] if number % 4 == 3 else None
    cancel_at_s = chance.uniform(0, 2.5) if chance.random() < 0.12 else None
    # No further than the log will get: what is asked for beyond an end is answered with a gap.
    most = 1 if cancel_at_s is not None else params.get("fail_after", params["tokens"])
    readers = []
    for at in range(chance.choice([1, 2, 2, 3, 4])):
        after = chance.choice([0, 0, 0, 1, chance.randint(0, most)])
        after = min(after, 1) if coalesce else after
        leave_after = chance.randint(1, 60) if chance.random() < 0.2 else None
        transport = deck[(number * 3 + at) % len(deck)]
        readers.append(ReaderPlan(chance.choice([0.0, chance.uniform(0, 2.5)]), transport, after, leave_after))
    return JobPlan(
        at_s=chance.uniform(0, 1.5),
        prompt=f"schedule {seed}, job {number}",
        params=params,
        priority=chance.choice(["interactive", "interactive", "batch"]),
        coalesce=coalesce,
        cancel_at_s=cancel_at_s,
        readers=tuple(readers),
        # Nor are these drawn.
        owner=OWNERS[(seed + number) % len(OWNERS)],
        flow=_FLOWS[number // len(OWNERS) % len(_FLOWS)],
    )


def _events(chance: random.Random) -> tuple[EventPlan, ...]:
    kinds = chance.choices(list(EVENTS), [weight for weight, _, _ in EVENTS.values()], k=chance.randint(2, 5))
    events = []
    for kind in kinds:
        _, least, most = EVENTS[kind]
        events.append(EventPlan(chance.uniform(0.3, SPAN_S), kind, chance.randint(0, 1), chance.uniform(least, most)))
    return tuple(sorted(events, key=lambda event: event.at_s))
