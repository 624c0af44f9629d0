"""What can be asked of Spool alone: time to the first token, submits per second, tokens appended flat out."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence

from bench.load import Asked, Readers
from bench.measure import Run, Usage
from bench.spool_subject import SpoolSubject, submit
from bench.subject import Reading
from bench.workloads import Workload
from rig.redis_server import Redis
from spool import keys

_SUBMITTERS = 8
_WEIGHED = 20
_ENDED_WITHIN_S = 60.0


def first_token(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """``rate`` times a second, submit and stream in one request: from when it was due to the first token's read. A job
    comes before them: a worker that has just started connects to the broker after its first heartbeat."""
    connection = http.client.HTTPConnection("127.0.0.1", subject.stack.webs[0].port, timeout=30)
    submit(connection, {"tokens": 1})
    subject.wait_until_ended(_ENDED_WITHIN_S)
    count = int(workload.rate * workload.seconds)
    params = {"stamp": True, "tokens": 3, "rate": 1000, "first_token_s": 0}
    asked = Asked(
        subject.marker,
        tokens=3,
        seconds=workload.seconds + 10,
        pace=workload.rate,
        body=json.dumps({"prompt": "bench", "params": params}),
    )
    reading = Reading(
        f"{subject.stack.webs[0].url}/jobs", ("Accept: text/event-stream", "Content-Type: application/json")
    )
    usage = Usage(subject, redis)
    with Readers([reading] * count, asked) as readers:
        load = readers.result()
    figures = {"p50_ms": load.first_p50_ms, "p99_ms": load.first_p99_ms, "lost": count * 3 - load.delivered}
    return Run(figures | {"errors": load.errors}, usage.us_per(count))


def submits(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """Submits on a few kept connections, each after the answer to the one before; a worker takes the jobs meanwhile."""
    body = json.dumps({"prompt": "bench", "params": {"tokens": 1, "rate": 0, "first_token_s": 0}})
    asked = Asked(b"-", 0, seconds=workload.seconds, repeat=True, status=202, body=body)
    reading = Reading(f"{subject.stack.webs[0].url}/jobs", ("Content-Type: application/json",))
    usage = Usage(subject, redis)
    with Readers([reading] * _SUBMITTERS, asked) as readers:
        load = readers.result()
    cpu = usage.us_per(load.answers) | {"load": load.cpu_s / max(1, load.answers) * 1e6}
    subject.wait_until_ended(_ENDED_WITHIN_S)
    figures = {"per_second": load.answers / load.took_s, "p50_ms": load.served_p50_ms, "p99_ms": load.served_p99_ms}
    return Run(figures | {"errors": load.errors}, cpu)


def flat_out(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """All jobs begin at about the same time and write as fast as one worker can; nobody reads."""
    connection = http.client.HTTPConnection("127.0.0.1", subject.stack.webs[0].port, timeout=30)
    begins_at = time.monotonic() + 3 * workload.lead_s
    ids = []
    for _ in range(workload.jobs):
        left_s = max(0.0, begins_at - time.monotonic())
        path = submit(connection, {"tokens": workload.tokens, "rate": 0, "first_token_s": left_s})
        ids.append(path.split("/")[2])
    usage = Usage(subject, redis)
    if time.monotonic() > begins_at:
        raise RuntimeError("the submits took so long that some jobs had begun before the last was there")
    time.sleep(begins_at - time.monotonic())
    begun = time.monotonic()
    subject.wait_until_ended(_ENDED_WITHIN_S)
    total = workload.jobs * workload.tokens
    took_s = time.monotonic() - begun
    entries = sum(redis.link.pipeline([("XLEN", keys.log(job_id)) for job_id in ids]))
    kept = bytes_kept(redis, ids[:_WEIGHED]) / len(ids[:_WEIGHED]) / workload.tokens
    figures = {"per_second": total / took_s, "entries_per_token": entries / total, "kept_bytes_per_token": kept}
    return Run(figures, usage.us_per(total))


def bytes_kept(redis: Redis, ids: Sequence[str]) -> int:
    """What Redis holds for these jobs until they expire."""
    suffixes = ("", ":input", ":log", ":text")
    names = [f"{keys.job(job_id)}{suffix}" for job_id in ids for suffix in suffixes]
    sizes = redis.link.pipeline([("MEMORY", "USAGE", name, "SAMPLES", 0) for name in names])
    return int(sum(size or 0 for size in sizes))
