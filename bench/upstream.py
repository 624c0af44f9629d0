"""Tokens that come from a model server, through the upstream backend, into the log: what the worker pays for each."""

from __future__ import annotations

import http.client
import time
from itertools import islice

from bench.load import Asked, Readers
from bench.measure import Run, Usage
from bench.processes import cpu_s
from bench.spool_subject import SpoolSubject, submit
from bench.workloads import Workload
from rig.redis_server import Redis
from spool import keys

_READ = 20
"""Streams that have a reader, for the lateness: enough to see it, too few to be what is measured."""
_DRAIN_S = 20.0


def upstream(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """The stand-in counts from when it gets a request, so the jobs begin one by one as they are submitted."""
    web = subject.stack.webs[0]
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    usage, stand_in_s, begun = Usage(subject, redis), cpu_s(subject.stand_in.pid), time.monotonic()
    params = {"tokens": workload.tokens, "rate": workload.rate}
    paths = []
    for number in range(workload.jobs):
        # Spread over one interval and more, so that no two are due together for all of the run.
        time.sleep(max(0.0, begun + number * workload.lead_s / workload.jobs - time.monotonic()))
        paths.append(submit(connection, params, model="stand-in"))
    connection.close()
    readings = [subject.reading(f"{web.url}{path}", "sse") for path in islice(paths, 0, None, workload.jobs // _READ)]
    # Whoever comes late gets what had gathered all at once: that is no latency, and the warm-up leaves it out.
    asked = Asked(subject.marker, workload.tokens, workload.seconds + _DRAIN_S, warmup_s=workload.lead_s + 1, ids=True)
    with Readers(readings, asked) as readers:
        load = readers.result()
    subject.wait_until_ended(_DRAIN_S)
    total = workload.jobs * workload.tokens
    cpu_us = usage.us_per(total) | {"stand-in": (cpu_s(subject.stand_in.pid) - stand_in_s) / total * 1e6}
    ids = [path.split("/")[2] for path in paths]
    lengths = redis.link.pipeline([("STRLEN", f"{keys.job(job_id)}:text") for job_id in ids])
    figures = {
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "max_ms": load.max_ms,
        "tokens": subject.tokens_in(sum(lengths)),
        "lost": total - subject.tokens_in(sum(lengths)),
        "errors": load.errors,
    }
    return Run(figures, cpu_us, sample=load.sample)
