"""What tokens cost Redis: CPU, memory until a job expires, and bytes of the append-only file.

Paced and flat out, where each token is an entry of its own, and paced with what each second brings put together.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from bench.measure import Run
from bench.spool_only import bytes_kept
from bench.spool_subject import SpoolSubject, submit
from bench.workloads import Workload
from rig.redis_server import Redis
from spool import keys

_ENDED_WITHIN_S = 90.0
_AS_A_BATCH = {"ms": 1000, "chars": 1000}
"""What the jobs of a batch do by default."""


def redis_cost(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """Jobs with nobody reading, at the workload's rate, then at none, then coalesced."""
    # A rewrite would make the file shorter in the midst of it.
    redis.link.call("CONFIG", "SET", "auto-aof-rewrite-percentage", "0")
    figures: dict[str, float] = {}
    for name, rate, coalesce in (
        ("paced", workload.rate, None),
        ("flat", 0.0, None),
        ("coalesced", workload.rate, _AS_A_BATCH),
    ):
        phase = _phase(subject, redis, workload, rate, coalesce)
        figures |= {f"{name}_{what}": value for what, value in phase.items()}
    for name, suffix in (("paced", ""), ("coalesced", "_coalesced")):
        figures[f"kept_bytes_per_token{suffix}"] = figures[f"{name}_job_kb"] * 1024 / workload.tokens
    return Run(figures)


def _phase(
    subject: SpoolSubject, redis: Redis, workload: Workload, rate: float, coalesce: Mapping[str, int] | None
) -> dict[str, float]:
    before = _totals(redis)
    connection = http.client.HTTPConnection("127.0.0.1", subject.stack.webs[0].port, timeout=30)
    params = {"tokens": workload.tokens, "rate": rate, "first_token_s": 0}
    ids = [submit(connection, params, coalesce=coalesce).split("/")[2] for _ in range(workload.jobs)]
    connection.close()
    subject.wait_until_ended(workload.seconds + _ENDED_WITHIN_S)
    after = _totals(redis)
    tokens = workload.jobs * workload.tokens
    entries = sum(redis.link.pipeline([("XLEN", keys.log(job_id)) for job_id in ids]))
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
