"""Endpoints for operators: liveness, readiness, version, metrics."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import spool
from spool.errors import Draining, StoreUnavailable
from web.auth import scope
from web.problems import problem_of
from web.services import state

blueprint = Blueprint("operations", __name__)


@blueprint.get("/livez")
@scope("public")
def livez() -> dict[str, str]:
    """Liveness: the process answers. Does not check Redis, because restarting this process would not repair it."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@scope("public")
def readyz() -> dict[str, Any]:
    """Readiness, for load balancers: 503 while this process drains, while Redis does not answer, and in every other
    condition that refuses a submit. ``checks`` lists all conditions by name. Conditions that only warn (no worker,
    persistence off) keep 200, because routing callers elsewhere would not help."""
    services = state()
    if services.draining:
        raise Draining
    try:
        services.store.check_writable()
        services.refuse_when_full()
    except StoreUnavailable as exc:
        problem = problem_of(exc)
        problem.extra["checks"] = services.conditions.as_checks()
        raise problem from exc
    return {"status": "ok", "checks": services.conditions.as_checks()}


@blueprint.get("/version")
@scope("public")
def version() -> dict[str, Any]:
    """The name and version of the server."""
    return {"name": "spool", "version": spool.__version__}


@blueprint.get("/metrics")
@scope("operations:read")
def metrics() -> Response:
    """Prometheus metrics, summed over the web processes of this machine."""
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
