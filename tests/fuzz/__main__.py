"""The structured fuzz: ``python -m tests.fuzz --seed 1 --cases 10000``. A case is its seed and number, and comes again
with ``--first N --cases 1``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.cases import case_of
from tests.fuzz.target import STRETCH_S, fuzzed_stack

_PROGRESS = 1000


def main() -> int:
    """Run the cases; 1 if anything was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--show", action="store_true", help="print each request")
    asked = parser.parse_args()
    began, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory, fuzzed_stack(Path(directory)) as (stack, target):
        known = target.prepare(stack)
        for number in range(asked.first, asked.first + asked.cases):
            if number > asked.first and number % _PROGRESS == 0:
                print(f"{number - asked.first} cases in {time.monotonic() - began:.0f} s", flush=True)
            case = case_of(asked.seed, number, known)
            if asked.show:
                print(f"{number}: {case.request[:2000]!r}")
            for wrong in target.run(case):
                failed += 1
                print(
                    f"FAILED {case.name}: {wrong}\n  again: --seed {asked.seed} --first {number} --cases 1", flush=True
                )
        answers = ", ".join(f"{number} × {status}" for status, number in sorted(target.counts.items()))
    print(
        f"seed {asked.seed}: {asked.cases} cases in {time.monotonic() - began:.0f} s ({answers}); "
        f"{failed} failures; the longest stretch {target.longest_s * 1000:.0f} ms of {STRETCH_S * 1000:.0f} ms of CPU"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
