"""``python -m bench.sizing``: what a job that has ended keeps in Redis, before and after its log is packed.

Real processes: a Redis with an append-only file, a web, a worker. Jobs of the demo with so many tokens at 50 a second,
from ``/jobs``, ``/v1`` and a batch; what Redis uses after them and not before is theirs. It is kept for
``SPOOL_JOB_TTL_S``.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig.process import wait_for
from rig.stack import Stack, running_stack
from spool import keys

_RATE = 50
_GIB = 1024**3
_WATERMARK = 0.9
_TTL_S = 86_400
_ANSWERS_A_DAY = 1_000_000
_PACK_AFTER_S = 15
_WARM_UP_TOKENS = 50


@dataclass(frozen=True, slots=True)
class Shape:
    """How jobs come in, how many tokens each has, and whether they coalesce."""

    surface: str
    tokens: int
    coalesce_ms: int = 0


SHAPES = (
    *(Shape("/jobs", tokens, ms) for tokens in (50, 500, 1000, 2000) for ms in (0, 1000)),
    Shape("/v1", 1000),
    *(Shape("batch", 1000, ms) for ms in (0, 1000)),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one job of a shape keeps, in bytes, at its end (``stream``) and once its log is packed. ``file_bytes``: of
    the append-only file at its end, until it is rewritten. ``pack_ms``: the worker's CPU time to pack it."""

    shape: Shape
    stream: float
    packed: float
    file_bytes: float
    pack_ms: float

    @property
    def jobs_a_s(self) -> float:
        """Jobs a second for ever, in a gibibyte of maxmemory, when each is kept for a day."""
        return _GIB * _WATERMARK / self.packed / _TTL_S


def measure(stack: Stack, shape: Shape, count: int) -> Kept:
    """Run so many jobs to their end, and wait until they are packed."""
    used, written = _used(stack)
    _SUBMITS[shape.surface](stack, shape, count)
    index = f"{keys.prefix(0)}deadlines"
    wait_for(lambda: stack.redis.link.call("ZCARD", index) == 0, "every job ended", shape.tokens / _RATE + 300)
    at_end, written_at_end = _used(stack)
    begun_s, begun = _worker_cpu_s(stack), time.monotonic()
    unpacked = [("ZCARD", f"{keys.prefix(0)}{name}") for name in ("unpacked", "unpacked-batches")]
    wait_for(lambda: stack.redis.link.pipeline(unpacked) == [0, 0], "every log is packed", _PACK_AFTER_S + 300)
    spent_s, took_s = _worker_cpu_s(stack) - begun_s, time.monotonic() - begun
    # The worker without packing, for as long.
    begun_s = _worker_cpu_s(stack)
    time.sleep(min(took_s, 10))
    idle_s = (_worker_cpu_s(stack) - begun_s) * took_s / min(took_s, 10)
    packed, _written = _used(stack)
    return Kept(
        shape,
        stream=(at_end - used) / count,
        packed=(packed - used) / count,
        file_bytes=(written_at_end - written) / count,
        pack_ms=max(0.0, spent_s - idle_s) / count * 1000,
    )


def _submit_jobs(stack: Stack, shape: Shape, count: int) -> None:
    client = stack.client()
    for number in range(count):
        answer = client.post("/jobs", json=_job(shape, number))
        assert answer.status_code == 202, answer.text


def _submit_batch(stack: Stack, shape: Shape, count: int) -> None:
    answer = stack.client().post("/batches?keep_jobs=1", json=[_job(shape, number) for number in range(count)])
    assert answer.status_code == 202, answer.text


def _submit_responses(stack: Stack, shape: Shape, count: int) -> None:
    client = stack.client()
    for number in range(count):
        body = {"model": "demo", "input": f"sizing {number}", "background": True, "tokens": shape.tokens, "rate": _RATE}
        answer = client.post("/v1/responses", json=body)
        assert answer.status_code == 200, answer.text


def _job(shape: Shape, number: int) -> Mapping[str, Any]:
    coalesce = {"ms": shape.coalesce_ms} if shape.coalesce_ms else False
    return {
        "prompt": f"sizing {number}",
        "params": {"tokens": shape.tokens, "rate": _RATE},
        "coalesce": coalesce,
    }


_SUBMITS: Mapping[str, Callable[[Stack, Shape, int], None]] = {
    "/jobs": _submit_jobs,
    "/v1": _submit_responses,
    "batch": _submit_batch,
}


def _used(stack: Stack) -> tuple[int, int]:
    return int(stack.redis.info("memory")["used_memory"]), int(stack.redis.info("persistence")["aof_current_size"])


def _worker_cpu_s(stack: Stack) -> float:
    """CPU seconds of the workers with all their processes."""
    total = 0.0
    for worker in stack.workers:
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = re.sub(r"^.*\) ", "", path.read_text(encoding="utf-8")).split()
            except OSError:
                continue
            # The process group, and the ticks in user and system mode.
            if int(fields[2]) == worker.pid:
                total += (int(fields[11]) + int(fields[12])) / 100
    return total


def table(found: list[Kept]) -> str:
    """As docs/operations.md shows it."""
    lines = [
        "| from | tokens | entries | bytes a job, at its end | packed | packed, bytes a token | file, bytes a job "
        "| jobs in 1 GiB | jobs/s for a day | a million a day, GiB | packing, ms of CPU |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        how = "one a second" if one.shape.coalesce_ms else "one a token"
        lines.append(
            f"| {one.shape.surface} | {one.shape.tokens:,} | {how} | {one.stream:,.0f} | {one.packed:,.0f} "
            f"| {one.packed / one.shape.tokens:.1f} | {one.file_bytes:,.0f} | {_GIB * _WATERMARK / one.packed:,.0f} "
            f"| {one.jobs_a_s:.2f} | {one.packed * _ANSWERS_A_DAY / _GIB:.1f} | {one.pack_ms:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure each shape, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing")
    parser.add_argument("--jobs", type=int, default=100, help="of each shape")
    parser.add_argument("--tokens", type=int, default=0, help="only the shapes with so many")
    options = parser.parse_args()
    shapes = [shape for shape in SHAPES if options.tokens in (0, shape.tokens)]
    with (
        tempfile.TemporaryDirectory(prefix="spool-") as directory,
        running_stack(
            Path(directory), webs=1, workers=1, concurrency=options.jobs, aof=True, PACK_AFTER_S=_PACK_AFTER_S
        ) as stack,
    ):
        # What Redis makes once, and not for each job.
        measure(stack, Shape("/jobs", _WARM_UP_TOKENS), options.jobs)
        print(table([measure(stack, shape, options.jobs) for shape in shapes]))


if __name__ == "__main__":
    main()
