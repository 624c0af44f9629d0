"""The Prometheus metrics that webs and workers share, and the place where a process keeps its own.

The processes of a machine write to files of one directory (``PROMETHEUS_MULTIPROC_DIR``), and any web of it answers for
all. A process is known there by its place, such as ``worker1``, not by its process id: so its successor goes on with
its counts, and the number of files does not grow with each restart. Labels have few values, none of them a caller's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram, values

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
PLACE = "SPOOL_PROCESS_NAME"
"""The variable with the place of a process, set by the program that starts it. Not a setting."""


_names = {"place": ""}


def _named() -> str:
    """The name of this process in the directory."""
    return _names["place"] or str(os.getpid())


def take_place(place: str, environ: Mapping[str, str] = os.environ) -> None:
    """Use this place, if there is a directory. The last process of the place has ended: its counts go on, its gauges
    are removed."""
    if not place or DIRECTORY not in environ:
        return
    # The library divides file names at underscores.
    _names["place"] = place.replace("_", "-")
    for path in Path(environ[DIRECTORY]).glob(f"gauge_live*_{_names['place']}.db"):
        path.unlink(missing_ok=True)


if DIRECTORY in os.environ:
    take_place(os.environ.get(PLACE, ""))
    # As the library's documentation does it for uWSGI, before the first metric is made.
    values.ValueClass = values.MultiProcessValue(_named)  # type: ignore[no-untyped-call]

_ROUND_TRIP_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
_PAUSE_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

BUILD = Gauge("spool_build_info", "1, with the version", ["version", "schema"], multiprocess_mode="livemax")
ONE_CALL_IN = 16
"""How many calls and commits one measured one stands for."""
REDIS_CALLS = Histogram("spool_redis_call_seconds", "One in 16 round trips to Redis", ["link"], buckets=_ROUND_TRIP_S)
REDIS_ERRORS = Counter("spool_redis_errors", "Round trips to Redis that failed", ["link"])
LOOP_LAG = Histogram("spool_loop_lag_seconds", "How late a timer of the event loop was", ["program"], buckets=_PAUSE_S)
GC_PAUSES = Histogram("spool_gc_pause_seconds", "Full garbage collections", ["program"], buckets=_PAUSE_S)
DELIVERY = Histogram("spool_delivery_delay_seconds", "From worker to web, of a few entries", buckets=_ROUND_TRIP_S)
BELLS_DROPPED = Counter("spool_bells_dropped", "Bells that the broker did not take")
JOBS_ENDED = Counter("spool_jobs_ended", "Jobs that have ended", ["model", "status"])
JOBS_LOST = Counter("spool_jobs_lost_leases", "Attempts whose worker died", ["model"])

_Metric = TypeVar("_Metric", Counter, Histogram)


@cache
def labelled(metric: _Metric, *values: str) -> _Metric:
    """The metric with these values of its labels. Kept, since the library takes longer to find it than to count."""
    return metric.labels(*values)


def count_from_zero(models: Iterable[str]) -> None:
    """Show what must alert at its first event as 0 before: Prometheus counts no increase to the first value of a
    series."""
    for model in models:
        JOBS_LOST.labels(model)
        JOBS_ENDED.labels(model, "failed")
