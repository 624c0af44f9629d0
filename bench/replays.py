"""``python -m bench.replays``: replay of ended jobs from their streams, and again once their logs are packed.

Real processes: a Redis, a web, a worker. Each job's log is read whole from the web, one after the other, so that
no reader profits from what another one has read; then a crowd reads one log at once.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.processes import cpu_s
from rig.process import wait_for
from rig.stack import Stack, running_stack
from spool import keys
from spool.jobs.packer import Packer
from spool.jobs.shards import Shard

_CROWD = 200
PACKED_BY_HAND = 86_400
"""No worker packs anything meanwhile."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One form of the logs: time for one replay, and CPU time of web and Redis for each; time for the crowd."""

    form: str
    p50_ms: float
    p99_ms: float
    web_ms: float
    redis_ms: float
    crowd_ms: float
    crowd_cpu_ms: float
    """CPU time of the web for the whole crowd."""


def replay(stack: Stack, form: str, ids: Sequence[str], size: int) -> Replayed:
    """Read each log once, then the last one with a crowd. ``size``: the entries of each log."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.webs[0].port, timeout=60)
    web, redis = (group_cpu_s(stack.webs[0].pid), cpu_s(stack.redis.pid))
    times = []
    for job in ids[:-1]:
        begun = time.perf_counter()
        _read(connection, job, size)
        times.append((time.perf_counter() - begun) * 1000)
    web_ms = (group_cpu_s(stack.webs[0].pid) - web) / len(times) * 1000
    redis_ms = (cpu_s(stack.redis.pid) - redis) / len(times) * 1000
    connections = [http.client.HTTPConnection("127.0.0.1", stack.webs[0].port, timeout=60) for _ in range(_CROWD)]
    web, begun = group_cpu_s(stack.webs[0].pid), time.perf_counter()
    with ThreadPoolExecutor(_CROWD) as pool:
        list(pool.map(lambda one: _read(one, ids[-1], size), connections))
    crowd_ms = (time.perf_counter() - begun) * 1000
    crowd_cpu_ms = (group_cpu_s(stack.webs[0].pid) - web) * 1000
    for one in [connection, *connections]:
        one.close()
    ordered = sorted(times)
    p99_ms = ordered[len(ordered) * 99 // 100]
    return Replayed(form, statistics.median(ordered), p99_ms, web_ms, redis_ms, crowd_ms, crowd_cpu_ms)


def _read(connection: http.client.HTTPConnection, job: str, size: int) -> None:
    connection.request("GET", f"/jobs/{job}/stream", headers={"Accept": "application/x-ndjson"})
    answer = connection.getresponse()
    lines = answer.read().count(b"\n")
    if answer.status != 200 or lines < size:
        raise RuntimeError(f"{answer.status}, {lines} lines of {size}")


def group_cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return sum(cpu_s(int(one)) for one in [str(pid), *children])


def make_jobs(stack: Stack, jobs: int, tokens: int) -> list[str]:
    """Jobs that have ended, with an entry for each token."""
    client, ids = stack.client(), []
    for number in range(jobs):
        params = {"tokens": tokens, "rate": 0, "first_token_s": 0}
        answer = client.post("/jobs", json={"prompt": f"replay {number}", "params": params})
        assert answer.status_code == 202, answer.text
        ids.append(str(answer.json()["id"]))
    index = f"{keys.prefix(0)}deadlines"
    wait_for(lambda: stack.redis.link.call("ZCARD", index) == 0, "every job ended", 120)
    return ids


def pack_all(stack: Stack) -> None:
    """Pack all logs now."""
    packer = Packer(Shard(0, stack.redis.link), after_s=0)
    while packer.beat(lambda _seconds: None):
        pass


def main() -> None:
    """Measure both forms, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.replays")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=1000, help="of each job")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="spool-") as directory,
        running_stack(Path(directory), webs=1, workers=1, PACK_AFTER_S=PACKED_BY_HAND) as stack,
    ):
        ids = make_jobs(stack, options.jobs, options.tokens)
        replay(stack, "warm-up", ids[:10], options.tokens)
        found = [replay(stack, "stream", ids, options.tokens)]
        pack_all(stack)
        found.append(replay(stack, "packed", ids, options.tokens))
    print(f"| log | one replay, p50 / p99 ms | CPU of web, Redis, ms | {_CROWD} at once, ms, CPU of web |")
    print("|---|---|---|---|")
    for one in found:
        cpu = f"{one.web_ms:.2f}, {one.redis_ms:.2f}"
        print(
            f"| {one.form} | {one.p50_ms:.2f} / {one.p99_ms:.2f} | {cpu} | {one.crowd_ms:.0f}, {one.crowd_cpu_ms:.0f} |"
        )


if __name__ == "__main__":
    main()
