"""Workers and webs that die, halt, hang or lose answers at random fail points, each run from a seed.

    python -m tests.faults.fail_point_seeds --seeds 200 [--first N]

One stack serves one seed after the other. A seed is some jobs with their readers, and the fail points that each
process gets which is started meanwhile: one worker and one web at its beginning, and others when they have been at
theirs. Every job ends, and is looked at by the checker, before the next seed begins.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from spool.fail_points import POINTS
from tests.faults.armed import Armed
from tests.faults.caller import Caller
from tests.faults.checker import PREFIX, Accepted, check_stack
from tests.faults.crowd import Crowd
from tests.faults.jobs import ENDED
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.stack import Stack, Web, running_stack, wait_for

LEASE_S = 2
WITHIN_S = 60.0
_ARMED_AGAIN = 2
"""So many times in a seed a process that is started again gets another point."""
_CALM_AFTER_S = 20.0
"""From then on a seed's processes are started with no fail point, so that it comes to its end."""
_SEEDS_AT_MOST = 3
"""A process that has not got to its point for so many seeds gets another one."""
_STOPPED_S = LEASE_S + 1.5
_WEB_FAMILIES = ("submit", "keep", "link")
_FAMILIES = sorted({name.partition(".")[0] for name in POINTS} - {"hand_back", "adopt"})
"""The others need a worker that is told to stop, or a Redis that lost history; they have tests of their own."""


@dataclass
class Outcome:
    """What some seeds did and found."""

    jobs: int = 0
    readers: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        happened = ", ".join(f"{name} {count}" for name, count in sorted(self.happened.items()))
        attempts = ", ".join(f"{number}: {count}" for number, count in sorted(self.attempts.items()))
        lines = [f"jobs {self.jobs}, readers {self.readers}", f"happened: {happened}", f"attempts: {attempts}"]
        return "\n".join([*lines, f"violations {len(self.violations)}"])


def draw(chance: random.Random, *, web: bool) -> str:
    """A fail point for a process: which, how, and when; mostly by count, now and then by chance."""
    families = [family for family in _FAMILIES if not web or family in _WEB_FAMILIES]
    family = chance.choice(families)
    names = [name for name in POINTS if name.startswith(f"{family}.")]
    action = chance.choice(["kill"] * 5 + ["stop", "raise", f"block={chance.choice([0.5, LEASE_S + 1])}"])
    if action == "raise":
        names = [name for name in names if POINTS[name].lost] or ["link.sent"]
    name = chance.choice([*names, f"{family}.*"]) if action != "raise" else chance.choice(names)
    most = {"link": 60, "piece": 40, "append": 12, "heartbeat": 8, "keep": 4}.get(family, 3)
    if action == "raise" or chance.random() < 0.2:
        return f"{name}:p={chance.uniform(1, 5) / (most + 5):.4f}:seed={chance.randrange(1000)}:{action}"
    return f"{name}:{chance.randint(1, most)}:{action}"


class Ground:
    """A stack, and which of its processes have reached their point."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.armed = [Armed(process) for process in (*stack.workers, *stack.webs)]
        self.happened: Counter[str] = Counter()
        self._counted: dict[Armed, int] = dict.fromkeys(self.armed, 0)
        self._seeds: dict[Armed, int] = dict.fromkeys(self.armed, 0)
        self._resume_at: dict[Armed, float] = {}
        self._left = 0
        """How many processes that come to their point may still get another one."""

    def arm(self, one: Armed, chance: random.Random | None) -> None:
        """Start it (again), with a point from ``chance`` or none."""
        one.start(draw(chance, web=isinstance(one.process, Web)) if chance is not None else "")
        self._counted[one] = self._seeds[one] = 0
        self._resume_at.pop(one, None)

    def begin(self, chance: random.Random) -> None:
        """Another seed: a new point for one worker and one web, of those that have none, have been at their own, or do
        not get there."""
        self._left = _ARMED_AGAIN
        for one in self.armed:
            self._seeds[one] += 1
        for web in (False, True):
            idle = [one for one in self.armed if isinstance(one.process, Web) is web and self._is_idle(one)]
            if idle:
                self.arm(chance.choice(idle), chance)

    def _is_idle(self, one: Armed) -> bool:
        return not one.value or self._counted[one] > 0 or self._seeds[one] > _SEEDS_AT_MOST

    def tick(self, chance: random.Random) -> None:
        """See to those that have reached their point: start what died, let what was stopped go on when its lease is
        over, and give what is done with its point another one."""
        now = time.monotonic()
        for one in self.armed:
            news = one.happened[self._counted[one] :]
            self._counted[one] += len(news)
            self.happened.update(f"{name} {action}" for name, action in news)
            if any(action == "stop" for _name, action in news):
                self._resume_at[one] = now + _STOPPED_S
            if one in self._resume_at:
                if now >= self._resume_at[one]:
                    del self._resume_at[one]
                    one.process.resume()
            elif self._is_through(one):
                self.arm(one, chance if self._left > 0 else None)
                self._left -= 1

    def calm(self) -> None:
        """No process has a point any more, nor gets one."""
        self._left = 0
        for one in self.armed:
            if one.value:
                self.arm(one, None)

    def _is_through(self, one: Armed) -> bool:
        # A web's master goes on when its process dies; whatever happens once is over when it has happened.
        return not one.process.running or (bool(one.value) and "p=" not in one.value and self._counted[one] > 0)


@contextmanager
def ground(directory: Path) -> Iterator[Ground]:
    """The stack that the seeds run on."""
    with running_stack(directory, concurrency=6, LEASE_S=LEASE_S, MAX_ATTEMPTS=100, JOB_TIMEOUT_S=600) as stack:
        yield Ground(stack)


def run_seed(here: Ground, seed: int, crowd: Crowd) -> Outcome:
    """One seed's jobs, to their ends."""
    chance, outcome, stack = random.Random(seed), Outcome(), here.stack
    caller = Caller([web.url for web in stack.webs])
    crowd.followings.clear()
    accepted: list[Accepted] = []

    def live(prompt: str, params: dict[str, int], at_s: float, transports: Sequence[str]) -> None:
        time.sleep(at_s)
        job = caller.submit({"prompt": prompt, "params": params})
        if job is None:
            return
        accepted.append(Accepted(job, prompt, params))
        for transport in transports:
            crowd.follow(job, transport, within_s=WITHIN_S)

    plans = [
        (
            f"seed {seed} job {number}",
            {"tokens": chance.randint(1, 120), "rate": chance.choice([0, 40, 80])},
            chance.uniform(0, 0.5),
            chance.sample(sorted(TRANSPORTS), 2),
        )
        for number in range(chance.randint(4, 8))
    ]
    here.begin(chance)
    began = time.monotonic()
    with ThreadPoolExecutor(len(plans)) as pool:
        going = [pool.submit(live, *plan) for plan in plans]
        calm = False

        def all_ended() -> bool:
            nonlocal calm
            if not calm and time.monotonic() - began > _CALM_AFTER_S:
                calm = True
                here.calm()
            here.tick(chance)
            return all(one.done() for one in going) and statuses(stack, accepted) <= ENDED

        try:
            wait_for(all_ended, "all jobs have ended", WITHIN_S)
        except AssertionError as exc:
            outcome.violations.append(f"{exc}: {unended(stack, accepted)}, and {caller.violations}")
        for one in going:
            one.result()
    while here_reads := crowd.unfinished(0.2):
        here.tick(chance)
        if time.monotonic() - began > WITHIN_S + 10:
            outcome.violations.append(f"still read: {here_reads}")
            break
    outcome.jobs, outcome.readers = len(accepted), len(crowd.followings)
    outcome.violations += caller.violations
    if statuses(stack, accepted) != {"succeeded"}:
        outcome.violations.append(f"ended {statuses(stack, accepted)}")
    if len(accepted) < len(plans):
        outcome.violations.append(f"{len(plans) - len(accepted)} jobs were not accepted")
    outcome.violations += check_stack(stack, accepted, crowd.followings)
    outcome.attempts.update(attempts(stack, accepted))
    for job in accepted:
        caller.delete(job.id)
    caller.close()
    return outcome


def statuses(stack: Stack, jobs: Sequence[Accepted]) -> set[str]:
    """In which states they are."""
    replies = stack.redis.link.pipeline([("HGET", f"{PREFIX}job:{job.id}", "status") for job in jobs])
    return {(raw or b"").decode() for raw in replies}


def unended(stack: Stack, jobs: Sequence[Accepted]) -> list[str]:
    """What is known of those that go on."""
    found = []
    for job in jobs:
        row = stack.redis.link.call("HMGET", f"{PREFIX}job:{job.id}", "status", "attempt", "last", "worker", "deaths")
        if (row[0] or b"").decode() not in ENDED:
            found.append(f"{job.id} {[(value or b'').decode() for value in row]}")
    return found


def attempts(stack: Stack, jobs: Sequence[Accepted]) -> list[int]:
    """How many attempts each took."""
    return [int(n) for n in stack.redis.link.pipeline([("HGET", f"{PREFIX}job:{j.id}", "attempt") for j in jobs])]


def run_seeds(here: Ground, seeds: Sequence[int], say: Callable[[str], None] = print) -> Outcome:
    """One seed after the other; what is wrong is said at once."""
    total = Outcome()
    with Crowd([web.url for web in here.stack.webs], pause_at_most_s=0.3, silence_s=45) as crowd:
        for seed in seeds:
            began = time.monotonic()
            before = {one.process.name: one.value for one in here.armed}
            try:
                outcome = run_seed(here, seed, crowd)
            except AssertionError as exc:
                outcome = Outcome(violations=[str(exc)])
            say(f"seed {seed}: {outcome.jobs} jobs in {time.monotonic() - began:.1f} s")
            if outcome.violations:
                after = {one.process.name: one.value for one in here.armed}
                say("\n".join([f"VIOLATED, {before} to {after}", *(f"    {one}" for one in outcome.violations)]))
            total.jobs += outcome.jobs
            total.readers += outcome.readers
            total.attempts += outcome.attempts
            total.violations += [f"seed {seed}: {one}" for one in outcome.violations]
    total.happened = here.happened
    return total


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spool-") as name, ground(Path(name)) as here:
        total = run_seeds(here, range(options.first, options.first + options.seeds), lambda s: print(s, flush=True))
    print(f"{options.seeds} seeds in {time.monotonic() - began:.0f} s\n{total}")
    happened = sum(total.happened.values())
    measured("killed between steps", seeds=options.seeds, happened=happened, violations=len(total.violations))
    sys.exit(bool(total.violations))


if __name__ == "__main__":
    main()
