"""One run of a workload on a subject: what was offered, produced and delivered, how late, and what it cost."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.load import Asked, Load, Readers
from bench.processes import cpu_of, pss_of
from bench.subject import Reading, Subject
from bench.workloads import Workload
from rig.redis_server import Redis

_DRAIN_S = 20.0
"""How long after the last token was due the readers go on; what has not come by then counts as lost."""
_IDLE_LEAD_S = 3000.0
_WARM_STREAMS = 100
_AT_A_TIME = 50
"""Idle streams that are opened together: more would measure the memory of a rush, which is not given back."""


@dataclass(frozen=True)
class Run:
    """One run. ``figures`` are what the tables show (a unit in each name); ``cpu_us`` is CPU per delivered token."""

    figures: dict[str, float]
    cpu_us: dict[str, float] = field(default_factory=dict)
    pss_kb: dict[str, float] = field(default_factory=dict)
    sample: str = ""
    """How the first stream ended that was not whole, if there was one."""
    busy: dict[str, float] = field(default_factory=dict)
    """Percent of a core that each process had while tokens were due."""


def paced(subject: Subject, redis: Redis | None, workload: Workload) -> Run:
    """Jobs at a rate, readers on their streams."""
    begun = time.monotonic()
    urls = subject.prepare(workload.jobs, workload.rate, workload.seconds, workload.lead_s)
    prepared_s = time.monotonic() - begun
    ends_at = begun + workload.lead_s + workload.seconds
    asked = Asked(
        subject.marker,
        workload.tokens,
        seconds=ends_at - time.monotonic() + _DRAIN_S,
        warmup_s=workload.warmup_s,
        ids=subject.numbered and workload.transport in ("sse", "websocket"),
        poll=workload.transport == "long-polling",
        websocket=workload.transport == "websocket",
    )
    usage = Usage(subject, redis)
    with Readers(readings(subject, urls, workload), asked) as readers:
        _sleep_until(ends_at - workload.seconds)
        while_due = Usage(subject, redis)
        _sleep_until(ends_at)
        busy = while_due.busy()
        produced = subject.produced()
        pss = pss_of(subject.processes())
        load = readers.result()
    figures = _figures(load, workload) | {"prepared_s": prepared_s, "late_start_s": prepared_s - workload.lead_s}
    # Without the beginnings and ends of the jobs, and without the load generator.
    figures["us_while_due"] = sum(busy.values()) / 100 / workload.offered * 1e6
    if produced is not None:
        figures["produced_rate"] = produced / workload.seconds
    cpu_us = usage.us_per(load.delivered) | {"load": load.cpu_s / max(1, load.delivered) * 1e6}
    return Run(figures, cpu_us, {name: float(kb) for name, kb in pss.items()}, load.sample, busy)


def _sleep_until(monotonic_s: float) -> None:
    time.sleep(max(0.0, monotonic_s - time.monotonic()))


class Usage:
    """CPU of a subject's processes and of its Redis from now on."""

    def __init__(self, subject: Subject, redis: Redis | None) -> None:
        self._subject = subject
        self._redis = redis
        self._before = self._now()
        self._began_at = time.monotonic()

    def us_per(self, count: int) -> dict[str, float]:
        """Microseconds of CPU for each of ``count``, by process."""
        now = self._now()
        return {name: (now[name] - self._before[name]) / max(1, count) * 1e6 for name in self._before}

    def busy(self) -> dict[str, float]:
        """How much of a core each process has had, in percent."""
        now, passed_s = self._now(), time.monotonic() - self._began_at
        return {name: (now[name] - self._before[name]) / passed_s * 100 for name in self._before}

    def _now(self) -> dict[str, float]:
        used = cpu_of(self._subject.processes())
        if self._redis is not None:
            info = self._redis.info("cpu")
            used["redis"] = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
        return used


def readings(subject: Subject, urls: Sequence[str], workload: Workload) -> list[Reading]:
    """What every reader asks for; neighbours read different jobs."""
    spread = [subject.everywhere(url) if workload.readers > 1 else [url] for url in urls]
    return [
        subject.reading(same[number % len(same)], workload.transport)
        for number in range(workload.readers)
        for same in spread
    ]


def _figures(load: Load, workload: Workload) -> dict[str, float]:
    expected = workload.connections * workload.tokens
    return {
        "p50_ms": load.p50_ms,
        "p90_ms": load.p90_ms,
        "p99_ms": load.p99_ms,
        "p999_ms": load.p999_ms,
        "max_ms": load.max_ms,
        "offered_rate": workload.offered,
        "delivered_rate": load.rate,
        "delivered": load.delivered,
        "lost": expected - load.delivered,
        "errors": load.errors,
        "refused": load.refused,
        "closed_early": load.closed_early,
        "bad_status": load.bad_status,
        "missing_or_doubled": load.missing_or_doubled,
        "early": load.early,
        "connections": load.connections,
        "complete": load.complete,
        "ended": load.ended,
        "requests_rate": load.requests / load.span_s if load.span_s else 0.0,
    }


def idle(subject: Subject, _redis: Redis | None, workload: Workload) -> Run:
    """KB of proportional memory that one more idle stream adds, in each process."""
    _raise_file_limit()
    urls = subject.everywhere(subject.prepare(1, 1, 1, _IDLE_LEAD_S)[0])
    readings = [subject.reading(urls[n % len(urls)], "sse") for n in range(_WARM_STREAMS + workload.readers)]
    sockets: list[socket.socket] = []
    try:
        _attach(sockets, readings[:_WARM_STREAMS])
        before = pss_of(subject.processes())
        _attach(sockets, readings[_WARM_STREAMS:])
        after = pss_of(subject.processes())
    finally:
        for sock in sockets:
            sock.close()
    each = {name: (after[name] - before[name]) / workload.readers for name in before}
    return Run({"idle_kb": sum(each.values())}, pss_kb=each)


def _attach(sockets: list[socket.socket], readings: Sequence[Reading]) -> None:
    """Open the streams and wait until each was answered: by then all that it needs is there."""
    for begin in range(0, len(readings), _AT_A_TIME):
        opened = [_open(reading) for reading in readings[begin : begin + _AT_A_TIME]]
        sockets += opened
        for sock in opened:
            answer = sock.recv(4096)
            if b" 200 " not in answer[:15]:
                raise RuntimeError(f"an idle stream was answered with {answer[:60]!r}")


def _open(reading: Reading) -> socket.socket:
    parts = urlsplit(reading.url)
    sock = socket.create_connection((str(parts.hostname), parts.port or 80), timeout=20)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", *reading.headers]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    return sock


def _raise_file_limit() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
