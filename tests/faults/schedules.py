"""Random schedules: jobs of several owners on all transports while workers, webs, Redis and connections die, each from
a seed.

    python -m tests.faults.schedules --seeds 200 [--first N] [--shards N]

One stack serves one schedule after the other. Each ends healed: every job has ended and every reader is done, and
the checker has looked at all of it. What it finds is printed with the seed and its plan; ``--first N --seeds 1`` runs
that one again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from spool.errors import StoreUnavailable
from tests.faults.caller import Caller
from tests.faults.checker import Accepted, check_charges, check_indexes, check_job, check_reader
from tests.faults.crowd import Crowd
from tests.faults.disturber import Disturber
from tests.faults.following import Following
from tests.faults.outcome import Outcome, counts, recoveries
from tests.faults.plans import OWNERS, JobPlan, Schedule, schedule
from tests.stack import Stack, running_stack

LEASE_S = 2
_WITHIN_S = 90.0
_JOBS_AT_MOST = 15
_KEYS = {owner: f"{owner}-secret-0123456789" for owner in OWNERS}


@dataclass
class Job:
    """A job of a schedule as it went."""

    plan: JobPlan
    accepted: Accepted | None = None
    cancelled: bool = False
    """Its cancel was answered before it had ended."""
    followings: list[Following] = field(default_factory=list)


@contextmanager
def grounds(directory: Path, shards: int = 1) -> Iterator[Stack]:
    """The stack that the schedules run on."""
    options: dict[str, Any] = {
        "SHARDS": shards,
        "LEASE_S": LEASE_S,
        "MAX_ATTEMPTS": 50,
        "DRAIN_S": 1,
        "WORKER_DRAIN_S": 1,
        "JOB_TTL_S": 900,
        "JOB_TIMEOUT_S": 600,
        "API_KEYS": ",".join(f"{owner}={key}" for owner, key in _KEYS.items()),
    }
    redis_args = ["--auto-aof-rewrite-min-size", "8mb"]
    with running_stack(
        directory, concurrency=20, aof=True, proxy_redis=True, proxy_broker=True, redis_args=redis_args, **options
    ) as stack:
        yield stack


class Run:
    """One schedule on a stack."""

    def __init__(self, stack: Stack, plan: Schedule) -> None:
        self._stack = stack
        self._plan = plan
        self._disturber = Disturber(stack)
        urls = [web.url for web in stack.webs]
        self._callers = {owner: Caller(urls, headers=_headers(owner)) for owner in OWNERS}
        self._jobs = [Job(job) for job in plan.jobs]
        self._began = 0.0

    def run(self) -> Outcome:
        """Run it, heal, wait for all ends, check. The stack is as before then."""
        urls = [web.url for web in self._stack.webs]
        with ExitStack() as exits, ThreadPoolExecutor(_JOBS_AT_MOST) as pool:
            crowds = {
                owner: exits.enter_context(Crowd(urls, pause_at_most_s=0.3, silence_s=20, headers=_headers(owner)))
                for owner in OWNERS
            }
            self._began = time.monotonic()
            going = [pool.submit(self._live, job, crowds[job.plan.owner]) for job in self._jobs]
            for event in self._plan.events:
                self._until(event.at_s, self._disturber.tick)
                self._disturber.do(event.kind, event.number, event.hold_s)
            self._disturber.heal()
            for one in going:
                one.result()
            for crowd in crowds.values():
                crowd.unfinished(_WITHIN_S)
            outcome = self._check()
        self._forget()
        for caller in self._callers.values():
            caller.close()
        return outcome

    def _until(self, at_s: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait for a moment of the schedule."""
        while (left_s := self._began + at_s - time.monotonic()) > 0:
            meanwhile()
            time.sleep(min(left_s, 0.02))

    def _live(self, job: Job, crowd: Crowd) -> None:
        """What happens to one job, in a thread of its own: submit, readers, cancel."""
        plan = job.plan
        self._until(plan.at_s)
        body = {"prompt": plan.prompt, "params": dict(plan.params), "model": "demo", "priority": plan.priority}
        body |= plan.flow
        if plan.coalesce is not None:
            body["coalesce"] = dict(plan.coalesce)
        job_id = self._callers[plan.owner].submit(body)
        if job_id is None:
            return
        job.accepted = Accepted(job_id, plan.prompt, plan.params)
        base_s = time.monotonic() - self._began
        steps: list[tuple[float, Callable[[], None]]] = [
            (
                reader.at_s,
                lambda reader=reader: job.followings.append(  # type: ignore[misc]
                    crowd.follow(
                        job_id, reader.transport, reader.after, leave_after=reader.leave_after, within_s=_WITHIN_S + 15
                    )
                ),
            )
            for reader in plan.readers
        ]
        # One more from the beginning, that stays: the job's end is awaited by it.
        steps.append((0.0, lambda: job.followings.append(crowd.follow(job_id, "sse", within_s=_WITHIN_S + 15))))
        if plan.cancel_at_s is not None:
            steps.append((plan.cancel_at_s, lambda: self._cancel(job, job_id)))
        for at_s, step in sorted(steps, key=lambda one: one[0]):
            self._until(base_s + at_s)
            step()

    def _cancel(self, job: Job, job_id: str) -> None:
        answer = self._callers[job.plan.owner].cancel(job_id)
        job.cancelled = answer is not None and answer["status"] not in ("succeeded", "failed")

    # Afterwards.

    def _check(self) -> Outcome:
        violations = [one for caller in self._callers.values() for one in caller.violations]
        outcome = Outcome(events=self._disturber.done, violations=self._disturber.violations + violations)
        ended = []
        for number, job in enumerate(self._jobs):
            if job.accepted is None:
                outcome.violations.append(f"job {number} was not accepted")
                continue
            log, wrong = check_job(self._stack, job.accepted)
            for following in job.followings:
                wrong += check_reader(following, log)
                outcome.readers[following.transport] += 1
                outcome.reconnects += following.reconnects
            wrong += self._check_end(job, log)
            outcome.violations += [f"job {number}: {one}" for one in wrong]
            if wrong:
                outcome.violations[-1] += f"\n        job {number} was {job.plan}"
            outcome.jobs += 1
            outcome.entries += len(log)
            outcome.ends[json.loads(log[-1][1])["kind"] if log else "no log"] += 1
            outcome.attempts.update(json.loads(raw)["kind"] for _, raw in log[1:] if b'"attempt":' in raw[:120])
            ended.append(job.accepted.id)
            alone = " alone" if self._plan.one_loss else ""
            outcome.recoveries += [
                (kind + alone, s) for kind, s in recoveries(job.accepted.id, log, self._disturber.losses)
            ]
        outcome.violations += check_indexes(self._stack, ended) + check_charges(self._stack)
        return outcome

    def _check_end(self, job: Job, log: Sequence[tuple[int, bytes]]) -> list[str]:
        """A job ends as it was asked to, whatever happened to its workers."""
        end = json.loads(log[-1][1]) if log else {"kind": "nothing"}
        if job.cancelled:
            return [] if end["kind"] == "cancelled" else [f"was cancelled, and ended {end}"]
        if job.plan.cancel_at_s is not None and end["kind"] == "cancelled":
            # The answer to the cancel was lost, or said that it was over.
            return []
        if "fail_after" in job.plan.params:
            return [] if end.get("error", {}).get("code") == "demo_failure" else [f"was to fail, and ended {end}"]
        return [] if end["kind"] == "done" else [f"ended {end}"]

    def _forget(self) -> None:
        """Delete the jobs, so that a hundred schedules later Redis is no fuller."""
        for job in self._jobs:
            if job.accepted is not None:
                self._callers[job.plan.owner].delete(job.accepted.id)


def _headers(owner: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {_KEYS[owner]}"}


def run_seeds(stack: Stack, seeds: Sequence[int], say: Callable[[str], None] = print) -> Outcome:
    """Run one schedule after the other. What is wrong is said at once, with its plan."""
    total = Outcome()
    for seed in seeds:
        began = time.monotonic()
        plan = schedule(seed)
        try:
            outcome = Run(stack, plan).run()
        except (AssertionError, StoreUnavailable, httpx.HTTPError) as exc:
            outcome = Outcome(violations=[f"{type(exc).__name__}: {exc}"])
        total.add(outcome)
        say(f"seed {seed}: {outcome.jobs} jobs in {time.monotonic() - began:.1f} s, {counts(outcome.events)}")
        if outcome.violations:
            say("\n".join([f"VIOLATED by {plan}", *(f"    {one}" for one in outcome.violations)]))
    return total


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spool-") as name, grounds(Path(name), options.shards) as stack:
        total = run_seeds(stack, range(options.first, options.first + options.seeds), lambda s: print(s, flush=True))
    print(f"{options.seeds} schedules in {time.monotonic() - began:.0f} s\n{total}")
    sys.exit(bool(total.violations))


if __name__ == "__main__":
    main()
