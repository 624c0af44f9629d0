"""``python -m bench.fair``: who begins when, and how many tokens each owner is given.

Spool's own scripts decide on a real Redis; slots and jobs are on a virtual clock, so the figures do not depend on the
machine. The same workload in the order of arrival (a list, such as a Celery queue on Redis) and with turns by job
stand beside it, simulated. ``--real`` runs real processes: webs, workers and the demo, beside Celery with a Redis list.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.fair.disciplines import ByTurns, Discipline, FirstCome, Spool
from bench.fair.figures import jain, late, tokens_by_weight
from bench.fair.real import Processes, celery_list, run, spool_processes
from bench.fair.slots import TOKENS_A_S, Slots
from bench.fair.trace import backlog, late_comer
from rig.process import wait_for
from rig.redis_server import Redis
from spool.redis.link import RedisLink

_LATE_SLOTS = 4
_LATE_JOBS = 10
_LATE_TOKENS = 100


@dataclass(frozen=True, slots=True)
class Case:
    """Owners that all have a backlog: how many, tokens due to each in the run, slots, workers, and seconds between two
    kills."""

    name: str
    owners: int
    tokens_each: int
    slots: int
    weights: Sequence[float] = (1.0,)
    workers: int = 1
    kill_every_s: float = 0.0
    surplus: float = 2.0
    """The backlog, as a multiple of what is due: an order that serves some owners first shows in the figures."""


_CASES = (
    Case("2 owners", 2, 60_000, 4),
    Case("10 owners", 10, 30_000, 8),
    Case("10 owners, weights 0.5, 2 and 5", 10, 15_000, 8, weights=(0.5, 2.0, 5.0)),
    Case("10 owners, a worker of 4 killed every 60 s", 10, 30_000, 8, workers=4, kill_every_s=60.0),
    Case("1,000 owners", 1000, 5_000, 64, surplus=1.0),
)
_Make = Callable[[int], Discipline]
_Start = Callable[[Sequence[str], int, int], AbstractContextManager[Processes]]


def main() -> None:
    """Run every case with every discipline, and print a table."""
    parser = argparse.ArgumentParser(prog="bench.fair", description=__doc__)
    parser.add_argument("--ahead", type=int, default=10_000, help="jobs of A that are queued when B comes")
    parser.add_argument("--only", default="", help="cases whose names begin so")
    parser.add_argument("--real", type=int, metavar="AHEAD", help="on real processes; with so many jobs of A before B")
    options = parser.parse_args()
    if options.real:
        _print_real(options.real)
        return
    with tempfile.TemporaryDirectory(prefix="spool-") as directory:
        redis = Redis(Path(directory), aof=False)
        redis.start()
        try:
            wait_for(redis.is_ready, "Redis answers")
            _print(_makers(redis.link), options)
        finally:
            redis.close()
            redis.link.close()


def _makers(link: RedisLink) -> Mapping[str, _Make]:
    def spool(workers: int) -> Discipline:
        link.call("FLUSHALL")
        return Spool(link, workers)

    return {"Spool": spool, "first come": lambda _workers: FirstCome(), "turns by job": lambda _workers: ByTurns()}


def _print(makers: Mapping[str, _Make], options: argparse.Namespace) -> None:
    print(f"{'':46}" + "".join(f"{name:>22}" for name in makers))
    if "B after A".startswith(options.only):
        _print_row(f"A has {options.ahead:,} jobs, then B 10", makers, lambda make: _late(make, options.ahead))
    for case in _CASES:
        if case.name.startswith(options.only):
            _print_row(case.name, makers, lambda make, case=case: _jain(make, case))  # type: ignore[misc]


def _print_row(name: str, makers: Mapping[str, _Make], run: Callable[[_Make], str]) -> None:
    began = time.monotonic()
    cells = [run(make) for make in makers.values()]
    print(
        f"{name:46}" + "".join(f"{cell:>22}" for cell in cells) + f"   ({time.monotonic() - began:.0f} s)", flush=True
    )


def _late(make: _Make, ahead: int) -> str:
    works = late_comer(ahead, _LATE_JOBS, _LATE_TOKENS)
    mine = works[ahead:]
    services = Slots(make(1), _LATE_SLOTS).run(works, float("inf"))
    return str(late(mine, services, _LATE_SLOTS / 2, mine[0].at_s))


def _jain(make: _Make, case: Case) -> str:
    works = backlog(case.owners, round(case.tokens_each * case.surplus), case.weights)
    due = sum({work.owner: work.weight for work in works}.values()) * case.tokens_each
    until_s = due / (case.slots * TOKENS_A_S)
    services = Slots(make(case.workers), case.slots, case.workers, case.kill_every_s).run(works, until_s)
    return f"{jain(tokens_by_weight(works, services, until_s)):.3f}"


_REAL_SECONDS = 20.0
_REAL_SCALE = 0.2
_REAL_SLOTS = 8


def _print_real(ahead: int) -> None:
    makers = {"Spool": spool_processes, "Celery, Redis list": celery_list}
    print(f"{'processes':46}" + "".join(f"{name:>22}" for name in makers))
    cells = [_late_on(make, ahead) for make in makers.values()]
    print(f"{f'A has {ahead:,} jobs, then B {_LATE_JOBS}':46}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
    for kill_every_s in (0.0, 5.0):
        name = f"4 owners{f', a worker of 2 killed every {kill_every_s:.0f} s' if kill_every_s else ''}"
        cells = [_jain_on(make, kill_every_s) for make in makers.values()]
        print(f"{name:46}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def _late_on(make: _Start, ahead: int) -> str:
    works = late_comer(ahead, _LATE_JOBS, round(_LATE_TOKENS * _REAL_SCALE))
    mine = works[ahead:]
    with make(["a", "b"], _LATE_SLOTS, 1) as subject:
        measured = run(subject, works, _REAL_SECONDS)
    return str(late(mine, measured.services, _LATE_SLOTS / 2, measured.arrivals_s["b"]))


def _jain_on(make: _Start, kill_every_s: float) -> str:
    # Twice what the slots can run, so that the order decides which owners are served.
    works = backlog(4, round(2 * _REAL_SLOTS * TOKENS_A_S * _REAL_SECONDS / 4), scale=_REAL_SCALE)
    with make(sorted({work.owner for work in works}), _REAL_SLOTS, 2) as subject:
        measured = run(subject, works, _REAL_SECONDS, kill_every_s)
    from_s = max(measured.arrivals_s.values())
    return f"{jain(tokens_by_weight(works, measured.services, from_s + _REAL_SECONDS, from_s)):.3f}"


if __name__ == "__main__":
    main()
