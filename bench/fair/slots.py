"""Slots on a virtual clock: jobs begin in the order of a discipline, and last as long as their tokens."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.fair.disciplines import Begun, Discipline
from bench.fair.trace import Work

TOKENS_A_S = 50.0
"""Of each running job."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a job was given: the time in which a slot ran it. ``is_lost``: its worker died."""

    work: Work
    begin_s: float
    end_s: float
    is_lost: bool = False

    def tokens_until(self, at_s: float) -> float:
        """Tokens of its answer until then; none of an attempt that was lost."""
        return 0.0 if self.is_lost else max(0.0, min(at_s, self.end_s) - self.begin_s) * TOKENS_A_S


@dataclass
class _Slot:
    worker: int
    begun: Begun | None = None
    since_s: float = 0.0
    turn: int = 0
    """Counts its jobs, so that the end of an attempt that was lost is not mistaken for that of the next."""


@dataclass
class Slots:
    """``count`` slots of so many workers, each of which dies every ``kill_every_s``, one after the other."""

    discipline: Discipline
    count: int
    workers: int = 1
    kill_every_s: float = 0.0
    services: list[Service] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._slots = [_Slot(n % self.workers) for n in range(self.count)]
        self._ends: list[tuple[float, int, int]] = []

    def run(self, works: Sequence[Work], until_s: float) -> list[Service]:
        """Run these jobs until this time, or until nothing runs. Jobs still running then are among the services."""
        arrivals = [(at_s, list(part)) for at_s, part in itertools.groupby(works, lambda work: work.at_s)]
        kills = itertools.count(1) if self.kill_every_s else iter(())
        next_kill = next(kills, None)
        while True:
            kill_s = next_kill * self.kill_every_s if next_kill else float("inf")
            arrival_s = arrivals[0][0] if arrivals else float("inf")
            end_s = self._ends[0][0] if self._ends else float("inf")
            now_s = min(kill_s if self._ends else float("inf"), arrival_s, end_s)
            if now_s >= until_s:
                break
            if now_s == arrival_s:
                self.discipline.submit(arrivals.pop(0)[1])
            elif now_s == end_s:
                self._end(*heapq.heappop(self._ends))
            else:
                self._kill((next_kill or 0) % self.workers, now_s)
                next_kill = next(kills, None)
            self._fill(now_s)
        return self.services + [self._service(slot, slot.since_s + self._length_s(slot)) for slot in self._busy()]

    def _busy(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.begun]

    def _fill(self, now_s: float) -> None:
        for number, slot in enumerate(self._slots):
            if slot.begun is None:
                slot.begun = self.discipline.begin(slot.worker)
                if slot.begun is None:
                    return
                slot.since_s, slot.turn = now_s, slot.turn + 1
                heapq.heappush(self._ends, (now_s + self._length_s(slot), number, slot.turn))

    def _length_s(self, slot: _Slot) -> float:
        assert slot.begun is not None
        return slot.begun.work.tokens / TOKENS_A_S

    def _end(self, now_s: float, number: int, turn: int) -> None:
        slot = self._slots[number]
        if slot.begun is None or slot.turn != turn:
            return
        self.discipline.end(slot.worker, slot.begun)
        self.services.append(self._service(slot, now_s))
        slot.begun = None

    def _kill(self, worker: int, now_s: float) -> None:
        lost = [slot for slot in self._busy() if slot.worker == worker]
        self.discipline.lose(worker, [slot.begun for slot in lost if slot.begun])
        for slot in lost:
            self.services.append(self._service(slot, now_s, is_lost=True))
            slot.begun = None

    def _service(self, slot: _Slot, end_s: float, *, is_lost: bool = False) -> Service:
        assert slot.begun is not None
        return Service(slot.begun.work, slot.since_s, end_s, is_lost)
