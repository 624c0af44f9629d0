"""``GET /metrics``: Prometheus metrics, summed over the web processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

from flask import Blueprint, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from web.auth import scope
from web.services import state

blueprint = Blueprint("metrics", __name__)

STREAMS = Gauge("spool_streams", "Streams open now, by media type", ["media_type"], multiprocess_mode="livesum")
SUBMITTED = Counter("spool_jobs_submitted", "Jobs accepted", ["surface"])


@blueprint.get("/metrics")
@scope("operations:read")
def metrics() -> Response:
    """The metrics of this machine's web processes, as Prometheus text."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry) + generate_latest(_in_redis()), content_type=CONTENT_TYPE_LATEST)


def _in_redis() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_InRedis())
    return registry


class _InRedis(Collector):
    """Metrics counted in Redis, the same for all processes. Omitted while Redis does not answer."""

    def collect(self) -> Iterator[Metric]:
        # Not asked now: a scrape would hang with Redis.
        count = state().set_aside
        if count is not None:
            yield GaugeMetricFamily("spool_jobs_set_aside", "Jobs whose damaged records cannot end", value=count)
