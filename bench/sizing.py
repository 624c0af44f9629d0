"""``python -m bench.sizing``: what a job that has ended keeps in Redis, and how many jobs a second a gigabyte bears.

Real processes: a Redis with an append-only file, a web, a worker. Jobs of the demo with so many tokens at 50 a second,
entry by entry and coalesced; what Redis uses after them and not before is theirs. It is kept for ``SPOOL_JOB_TTL_S``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.jobs import Jobs
from tests.stack import Stack, running_stack

_RATE = 50
_GIB = 1024**3
_WATERMARK = 0.9
_TTL_S = 86_400
_SHAPES: tuple[tuple[int, Mapping[str, Any]], ...] = tuple(
    (tokens, how) for tokens in (50, 500, 2000) for how in ({}, {"coalesce": {"ms": 1000}})
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one job of a shape keeps. ``file_bytes``: of the append-only file, until it is rewritten."""

    tokens: int
    coalesced: bool
    bytes: float
    file_bytes: float

    @property
    def jobs_a_s(self) -> float:
        """Jobs a second for ever, in a gibibyte of maxmemory, when each is kept for a day."""
        return _GIB * _WATERMARK / self.bytes / _TTL_S


def measure(stack: Stack, tokens: int, fields: Mapping[str, Any], count: int) -> Kept:
    """Run so many jobs to their end."""
    used, written = _used(stack)
    jobs = Jobs(stack)
    for number in range(count):
        jobs.submit(f"sizing {number}", fields=dict(fields), tokens=tokens, rate=_RATE)
    jobs.wait_for_end(within_s=tokens / _RATE + 300)
    used_after, written_after = _used(stack)
    return Kept(tokens, bool(fields), (used_after - used) / count, (written_after - written) / count)


def _used(stack: Stack) -> tuple[int, int]:
    return int(stack.redis.info("memory")["used_memory"]), int(stack.redis.info("persistence")["aof_current_size"])


def table(found: list[Kept]) -> str:
    """As docs/operations.md shows it."""
    lines = [
        "| tokens | entries | bytes a job | bytes a token | file, bytes a job | jobs in 1 GiB | jobs/s for a day |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        how = "one a second" if one.coalesced else "one a token"
        lines.append(
            f"| {one.tokens:,} | {how} | {one.bytes:,.0f} | {one.bytes / one.tokens:.0f} | {one.file_bytes:,.0f} "
            f"| {_GIB * _WATERMARK / one.bytes:,.0f} | {one.jobs_a_s:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure each shape, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing")
    parser.add_argument("--jobs", type=int, default=100, help="of each shape")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="spool-") as directory,
        running_stack(Path(directory), webs=1, workers=1, concurrency=options.jobs, aof=True) as stack,
    ):
        # What Redis makes once, and not for each job.
        measure(stack, 50, {}, options.jobs)
        print(table([measure(stack, tokens, fields, options.jobs) for tokens, fields in _SHAPES]))


if __name__ == "__main__":
    main()
