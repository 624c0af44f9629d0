"""Endpoints for operators: liveness, readiness, version, metrics."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import NotRequired, cast

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import TypedDict

import spool
from spool.build import commit
from spool.errors import Draining, StoreUnavailable
from spool.jobs.job import SCHEMA
from spool.status.instances import Instance, running
from web.auth import scope
from web.contract import Answer, Content, Contract, json_content
from web.error_problems import problem_of
from web.services import state

blueprint = Blueprint("operations", __name__)


class Alive(TypedDict):
    """The process answers."""

    status: str


class Check(TypedDict):
    """One condition; ``message`` says what is wrong."""

    ok: bool
    message: NotRequired[str]


class Ready(TypedDict):
    """The process takes requests; the conditions by name, and the kinds of switches that are on."""

    status: str
    checks: dict[str, Check]
    switches: list[str]


class RunningVersion(TypedDict):
    """The processes of one program and version."""

    program: str
    version: str
    commit: str | None
    schema: int
    processes: int


class Version(TypedDict):
    """The server's name, version and commit (null if unknown), the newest version of a job's record that it reads, and
    the versions that run, as of the last seconds."""

    name: str
    version: str
    commit: str | None
    schema: int
    running: list[RunningVersion]
    switches: list[str]


@blueprint.get("/livez")
@scope("public")
@Contract(answers={200: Answer("The process answers.", [json_content(Alive, lambda: {"status": "ok"})])})
def livez() -> Alive:
    """Liveness: the process answers. Does not check Redis, because restarting this process would not repair it."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@scope("public")
@Contract(
    answers={
        200: Answer(
            "The process takes requests.",
            [json_content(Ready, lambda: {"status": "ok", "checks": {"redis_unfit": {"ok": True}}, "switches": []})],
        )
    },
    errors=[503],
)
def readyz() -> Ready:
    """Readiness, for load balancers: 503 while this process drains, while Redis does not answer, and in every other
    condition that refuses a submit. ``checks`` lists all conditions by name. Conditions that only warn (no worker,
    persistence off) keep 200, because routing callers elsewhere would not help."""
    services = state()
    if services.is_leaving:
        raise Draining
    try:
        services.store.check_writable()
        services.refuse_when_full()
    except StoreUnavailable as exc:
        problem = problem_of(exc)
        problem.extra["checks"] = services.conditions.as_checks()
        problem.extra["switches"] = services.switches.kinds()
        raise problem from exc
    checks = cast(dict[str, Check], services.conditions.as_checks())
    return {"status": "ok", "checks": checks, "switches": services.switches.kinds()}


def _version(instances: Iterable[Instance] = (), switches: Iterable[str] = ()) -> Version:
    return {
        "name": "spool",
        "version": spool.__version__,
        "commit": commit(),
        "schema": SCHEMA,
        "running": [cast(RunningVersion, asdict(each)) for each in running(instances)],
        "switches": list(switches),
    }


@blueprint.get("/version")
@scope("public")
@Contract(answers={200: Answer("The version.", [json_content(Version, lambda: _version())])})
def version() -> Version:
    """The name and version of the server, and the schema of its records: processes with different ones may run side by
    side, and those with the older one leave newer jobs alone. ``running``: the versions of all webs and workers."""
    services = state()
    return _version(services.presence.all, services.switches.kinds())


@blueprint.get("/metrics")
@scope("operations:read")
@Contract(
    answers={
        200: Answer(
            "The metrics.",
            [Content("text/plain", example=lambda: 'spool_streams{media_type="text/event-stream"} 3.0\n')],
        )
    }
)
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
