"""``python -m bench.batch_logs``: the log of a large batch that has ended, as a stream and packed.

Real processes: a Redis, a web, a worker. One batch of the demo with so many lines; what its log takes in Redis, and how
long its results, its stream and its output file take to read, before and after its log is packed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.processes import cpu_s
from bench.replays import PACKED_BY_HAND, group_cpu_s, pack_all
from rig.process import wait_for
from rig.stack import Stack, running_stack
from spool import keys

_ROUNDS = 3
_FORGOTTEN_S = 6.0
"""After this time a web has dropped the pages and blocks that it has read."""
_ACCEPT = {"Accept": "application/x-ndjson"}


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the log: its size in Redis, and the median times to read it whole, in ms."""

    name: str
    log_bytes: int
    read_ms: tuple[float, ...]
    web_ms: float
    """CPU time of the web for each read."""
    redis_ms: float


def measure(stack: Stack, name: str, batch: str, paths: list[str], lines: int) -> Form:
    """Read each path several times, each time from Redis."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.webs[0].port, timeout=300)
    web, redis, times = group_cpu_s(stack.webs[0].pid), cpu_s(stack.redis.pid), list[list[float]]()
    for path in paths:
        times.append([])
        for _round in range(_ROUNDS):
            time.sleep(_FORGOTTEN_S)
            begun = time.perf_counter()
            connection.request("GET", path, headers=_ACCEPT)
            answer = connection.getresponse()
            found = answer.read().count(b"\n")
            if answer.status != 200 or found < lines:
                raise RuntimeError(f"{path}: {answer.status}, {found} lines of {lines}")
            times[-1].append((time.perf_counter() - begun) * 1000)
    reads = _ROUNDS * len(paths)
    size = stack.redis.link.call("MEMORY", "USAGE", keys.log(batch), "SAMPLES", 0)
    web_ms = (group_cpu_s(stack.webs[0].pid) - web) * 1000 / reads
    redis_ms = (cpu_s(stack.redis.pid) - redis) * 1000 / reads
    connection.close()
    return Form(name, int(size), tuple(map(statistics.median, times)), web_ms, redis_ms)


def run_batch(stack: Stack, lines: int, tokens: int) -> str:
    """A batch that has ended; its id."""
    params = {"tokens": tokens, "rate": 0, "first_token_s": 0}
    body = "\n".join(json.dumps({"prompt": f"line {n}", "custom_id": f"c{n}", "params": params}) for n in range(lines))
    client = stack.client()
    answer = client.post("/batches", content=body, headers={"Content-Type": "application/x-ndjson"}, timeout=300)
    answer.raise_for_status()
    batch = str(answer.json()["id"])
    wait_for(lambda: client.get(f"/batches/{batch}").json()["ended"], "the batch has ended", 1200)
    return batch


def main() -> None:
    """Measure both forms, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.batch_logs")
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=100, help="of each answer")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="spool-") as directory,
        running_stack(
            Path(directory), webs=1, workers=1, concurrency=100, PACK_AFTER_S=PACKED_BY_HAND, MAX_QUEUED=100_000
        ) as stack,
    ):
        batch = run_batch(stack, options.lines, options.tokens)
        file_id = stack.client().get(f"/v1/batches/{batch}").json()["output_file_id"]
        paths = [f"/batches/{batch}/stream", f"/batches/{batch}/results", f"/v1/files/{file_id}/content"]
        found = [measure(stack, "stream", batch, paths, options.lines)]
        begun = time.process_time()
        pack_all(stack)
        pack_s = time.process_time() - begun
        found.append(measure(stack, "packed", batch, paths, options.lines))
    print("| log | bytes | bytes a line | stream, results, output file: ms | CPU of web, Redis for one read, ms |")
    print("|---|---|---|---|---|")
    for one in found:
        reads = ", ".join(f"{ms:.0f}" for ms in one.read_ms)
        line = one.log_bytes / options.lines
        print(f"| {one.name} | {one.log_bytes:,} | {line:.0f} | {reads} | {one.web_ms:.0f}, {one.redis_ms:.1f} |")
    print(f"packing: {pack_s:.2f} s of CPU")


if __name__ == "__main__":
    main()
