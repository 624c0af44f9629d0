"""Status polls: GET /jobs/ID over kept connections, beside a bare Flask route with the same JSON, in turns.

In turns, a few seconds each, so that whatever else the machine does meets both alike.
"""

from __future__ import annotations

import http.client
import statistics
from collections.abc import Sequence

from bench.floor_subject import FloorSubject
from bench.load import Asked, Load, Readers
from bench.measure import Run, Usage
from bench.spool_subject import SpoolSubject
from bench.subject import Reading
from bench.workloads import Workload
from rig.redis_server import Redis

_CONNECTIONS = 16
_TURNS = 3
_WARM_S = 0.5
_TEXT_TOKENS = 241
"""Of 17 bytes each: 4 KB."""


def polls(subject: SpoolSubject, redis: Redis, workload: Workload) -> Run:
    """``seconds`` in all: half of them Spool's."""
    path = f"/jobs/{subject.finished_job(_TEXT_TOKENS)}"
    port = subject.stack.webs[0].port
    document, etag = _polled(port, path)
    floor, directory = FloorSubject(), subject.stack.directory / "floor"
    directory.mkdir(exist_ok=True)
    try:
        floor.start(directory, "", 1)
        floor_port = floor.ports[0]
        _put(floor_port, document)
        known = (f"If-None-Match: {etag}",) if workload.status == 304 else ()
        ours = Reading(f"http://127.0.0.1:{port}{path}", known)
        # Its tag is a constant.
        theirs = Reading(f"http://127.0.0.1:{floor_port}/polled", ('If-None-Match: "polled"',) if known else ())
        for reading in (ours, theirs):
            _asked(reading, _WARM_S, workload.status)
        usage, floors = Usage(subject, redis), Usage(floor, None)
        loads = [
            (_asked(ours, _turn_s(workload), workload.status), _asked(theirs, _turn_s(workload), workload.status))
            for _ in range(_TURNS)
        ]
        cpu_us = usage.us_per(sum(load.answers for load, _ in loads))
        cpu_us["floor"] = sum(floors.us_per(sum(load.answers for _, load in loads)).values())
    finally:
        floor.stop()
    return Run(_figures(loads) | {"answer_bytes": len(document)}, cpu_us)


def _turn_s(workload: Workload) -> float:
    return workload.seconds / 2 / _TURNS


def _figures(loads: Sequence[tuple[Load, Load]]) -> dict[str, float]:
    ours, theirs = [load for load, _ in loads], [load for _, load in loads]
    per_second, floor_per_second = _per_second(ours), _per_second(theirs)
    return {
        "per_second": per_second,
        "floor_per_second": floor_per_second,
        "ratio": per_second / floor_per_second if floor_per_second else 0.0,
        "p50_ms": statistics.median(load.served_p50_ms for load in ours),
        "p99_ms": statistics.median(load.served_p99_ms for load in ours),
        "floor_p99_ms": statistics.median(load.served_p99_ms for load in theirs),
        "errors": sum(load.errors for pair in loads for load in pair),
    }


def _per_second(loads: Sequence[Load]) -> float:
    took_s = sum(load.took_s for load in loads)
    return sum(load.answers for load in loads) / took_s if took_s else 0.0


def _asked(reading: Reading, seconds: float, status: int) -> Load:
    asked = Asked(b"-", 0, seconds=seconds, repeat=True, status=status)
    with Readers([reading] * _CONNECTIONS, asked) as readers:
        return readers.result()


def _polled(port: int, path: str) -> tuple[bytes, str]:
    """The job as JSON, and its tag."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    document, tag = answer.read(), answer.headers["ETag"]
    connection.close()
    if answer.status != 200 or not tag:
        raise RuntimeError(f"a poll was answered with {answer.status}, ETag {tag}")
    return document, tag


def _put(port: int, document: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("PUT", "/polled", document, {"Content-Type": "application/json"})
    if connection.getresponse().status != 204:
        raise RuntimeError("the floor does not take the document that it is to answer with")
    connection.close()
