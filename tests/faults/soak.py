"""The soak: mixed load with random faults for a while, then quiet, and everything that was held is free again.

    python -m tests.faults.soak --minutes 10

After a warm-up without faults the figures are taken once all is quiet: the baseline. Then the load goes on while part 0
of each kind is killed and stopped, and Redis, its connections and the broker's are cut. Part 1 is paused and cut, and
never ended, so that what it loses adds up. Ends with a table, and with status 1 if something did not come back or the
checker found something.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.disturber import Disturber
from tests.faults.figures import Figures, above, measure, probed
from tests.faults.load import Load
from tests.faults.outcome import counts
from tests.faults.plans import EVENTS
from tests.stack import Stack, wait_for

_TTL_S = 30
_WARM_UP_S = 20.0
_QUIET_WITHIN_S = 180.0
"""Keys live for 30 s past a job's end, fences for a minute, a worker's kept entries and a web's feeds for seconds."""
_BETWEEN_S = (2.0, 8.0)
_EXPIRE = ("redis job", "redis claim", "redis batch", "redis idempotency", "redis owner", "redis kept")
_LASTING = "redis job:gone keys"
"""Tombstones outlive their jobs by a day: one for each job."""


def soak(stack: Stack, minutes: float, seed: int, rate: float) -> list[str]:
    """Run it on a stack that is not started yet; what was wrong."""
    probed(stack)
    stack.start()
    chance = random.Random(seed)
    load = Load(stack, rate=rate, seed=seed)
    load.start()
    time.sleep(_WARM_UP_S)
    load.stop()
    baseline = _quiet_baseline(stack)
    jobs, violations = load.counts["jobs"], load.violations
    load = Load(stack, rate=rate, seed=seed + 1)
    disturber = Disturber(stack)
    load.start()
    _disturb(disturber, chance, minutes * 60)
    disturber.heal()
    load.stop()
    print(f"load: {counts(load.counts)}\nfaults: {counts(disturber.done)}", flush=True)
    violations += load.violations + disturber.violations
    forgiven = {_LASTING: jobs + load.counts["jobs"]}
    now = _quiet_end(stack, baseline, forgiven)
    left = above(baseline, now, forgiven)
    print(_table(baseline, now, left), flush=True)
    return violations + [f"{name} did not come back: {what}" for name, what in left.items()]


def _disturb(disturber: Disturber, chance: random.Random, seconds: float) -> None:
    until = time.monotonic() + seconds
    kinds, weights = list(EVENTS), [weight for weight, _, _ in EVENTS.values()]
    next_at = time.monotonic()
    while time.monotonic() < until:
        disturber.tick()
        if time.monotonic() >= next_at:
            kind = chance.choices(kinds, weights)[0]
            number = 0 if kind.endswith(("_kill", "_term")) else chance.randint(0, 1)
            disturber.do(kind, number, chance.uniform(*EVENTS[kind][1:]))
            next_at = time.monotonic() + chance.uniform(*_BETWEEN_S)
        time.sleep(0.05)


def _quiet_baseline(stack: Stack) -> Figures:
    """The figures, once what expires has."""

    def expired() -> Figures | None:
        figures = measure(stack)
        return None if any(name.startswith(_EXPIRE) and name != _LASTING for name in figures) else figures

    return wait_for(expired, "what the warm-up left has expired", _QUIET_WITHIN_S) or {}


def _quiet_end(stack: Stack, baseline: Figures, forgiven: Figures) -> Figures:
    """The figures once they are back, or as they are when they have had the time."""
    deadline = time.monotonic() + _QUIET_WITHIN_S
    while above(baseline, figures := measure(stack), forgiven) and time.monotonic() < deadline:
        time.sleep(2)
    return figures


def _table(baseline: Figures, now: Figures, left: dict[str, str]) -> str:
    lines = [f"{'':34} {'before':>8} {'after':>8}"]
    for name in sorted({*baseline, *now}):
        mark = "  DID NOT COME BACK" if name in left else ""
        lines.append(f"{name:34} {baseline.get(name, 0):8g} {now.get(name, 0):8g}{mark}")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=3, help="jobs submitted per second")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        settings = {"DRAIN_S": 1, "WORKER_DRAIN_S": 1, "MAX_ATTEMPTS": 50, "JOB_TTL_S": _TTL_S}
        redis_args = ["--auto-aof-rewrite-min-size", "16mb"]
        stack = Stack(Path(name), aof=True, proxy_redis=True, proxy_broker=True, redis_args=redis_args, **settings)
        try:
            violations = soak(stack, options.minutes, options.seed, options.rate)
        finally:
            stack.close()
    print("\n".join([f"violations {len(violations)}", *violations]))
    sys.exit(bool(violations))


if __name__ == "__main__":
    main()
