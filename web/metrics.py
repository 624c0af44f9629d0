"""``GET /metrics``: Prometheus text, summed over the web processes of this machine."""

from __future__ import annotations

import os

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

from web.auth import scope

blueprint = Blueprint("metrics", __name__)

STREAMS = Gauge("spool_streams", "Streams open now, by media type", ["media_type"], multiprocess_mode="livesum")
SUBMITTED = Counter("spool_jobs_submitted", "Jobs accepted", ["surface"])


@blueprint.get("/metrics")
@scope("operations:read")
def metrics() -> Response:
    """What this machine's web processes count."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
