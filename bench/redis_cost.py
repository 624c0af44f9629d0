"""What tokens cost Redis: CPU, memory until a job expires, and bytes of the append-only file.

Once paced, where nearly every token is an entry of its own, and once flat out, where many share one.
"""

from __future__ import annotations

import http.client

from bench.measure import Run
from bench.spool_only import bytes_kept
from bench.spool_subject import SpoolSubject, submit
from bench.workloads import Workload
from spool import keys
from tests.stack import Redis

_ENDED_WITHIN_S = 90.0


def redis_cost(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """Jobs with nobody reading, at the workload's rate and then at none."""
    # A rewrite would make the file shorter in the midst of it.
    redis.link.call("CONFIG", "SET", "auto-aof-rewrite-percentage", "0")
    figures: dict[str, float] = {}
    for name, rate in (("paced", workload.rate), ("flat", 0.0)):
        figures |= {f"{name}_{what}": value for what, value in _phase(subject, redis, workload, rate).items()}
    return Run(figures)


def _phase(subject: SpoolSubject, redis: Redis, workload: Workload, rate: float) -> dict[str, float]:
    before = _totals(redis)
    connection = http.client.HTTPConnection("127.0.0.1", subject.stack.webs[0].port, timeout=30)
    params = {"tokens": workload.tokens, "rate": rate, "first_token_s": 0}
    ids = [submit(connection, params).split("/")[2] for _ in range(workload.jobs)]
    connection.close()
    subject.wait_until_ended(workload.seconds + _ENDED_WITHIN_S)
    after = _totals(redis)
    tokens = workload.jobs * workload.tokens
    entries = sum(redis.link.pipeline([("XLEN", keys.log(0, job_id)) for job_id in ids]))
    return {
        "cpu_us": (after["cpu_s"] - before["cpu_s"]) / tokens * 1e6,
        "aof_bytes": (after["aof"] - before["aof"]) / tokens,
        "entries_per_token": entries / tokens,
        "job_kb": bytes_kept(redis, ids) / len(ids) / 1024,
        # All that it grew by, freed space within counted as free: with the indexes, and what belongs to no key.
        "grown_kb": (after["memory"] - before["memory"]) / len(ids) / 1024,
    }


def _totals(redis: Redis) -> dict[str, float]:
    cpu, memory, persistence = (redis.info(section) for section in ("cpu", "memory", "persistence"))
    return {
        "cpu_s": float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
        "memory": float(memory["used_memory"]),
        "aof": float(persistence["aof_current_size"]),
    }
