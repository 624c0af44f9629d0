"""The worker program: ``celery -A worker worker --pool gevent``. Celery hears the bell and gives the greenlet."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import Any

import gevent
from celery import Celery, signals
from gevent.greenlet import Greenlet
from kombu.utils import functional as kombu_functional

from spool.background import raise_file_limit, spawn_forever
from spool.bell import TASK, Bell, celery_app
from spool.embedded import broker_url_from
from spool.errors import SettingsError, SpoolError
from spool.logs import configure as configure_logs
from spool.settings import WorkerSettings
from worker.backends import Backend, BackendError
from worker.backends.demo import Demo
from worker.backends.discovery import discover
from worker.backends.openai_compatible import OpenAICompatible
from worker.process import WorkerProcess

log = logging.getLogger("spool.worker")

_DISCOVER_S = 60.0
_DISCOVER_AGAIN_S = 2.0


def read_settings() -> WorkerSettings:
    """The worker's settings, or the end of the program with a line that says what is wrong."""
    try:
        settings = WorkerSettings.read()
        if not settings.redis_url.get_secret_value():
            raise SettingsError("SPOOL_REDIS_URL is not set (`spool run` sets it to the embedded server's)")
    except SettingsError as exc:
        sys.exit(f"spool worker: {exc}")
    return settings


# Celery's lazy proxies import this module before gevent patches `time`; its waits for a lost broker would stop the
# whole hub, and with it every job.
kombu_functional.sleep = gevent.sleep  # type: ignore[attr-defined]
settings = read_settings()
raise_file_limit()
# The heartbeat's thread must not hold up the hub: by default a thread keeps the interpreter for 5 ms at a time.
sys.setswitchinterval(0.0005)
redis_url = settings.redis_url.get_secret_value()
app: Celery = celery_app(settings.broker_url.get_secret_value() or broker_url_from(redis_url))
upstreams = settings.upstreams()
backends: dict[str, Backend] = {"demo": Demo()}
if upstreams:
    backends["openai"] = OpenAICompatible(upstreams)
process: WorkerProcess | None = None
draining: Greenlet[..., None] | None = None


@app.task(name=TASK, ignore_result=True)
def bell(job_id: str = "") -> None:  # noqa: ARG001 - for whoever traces messages
    """The bell rang: take jobs while there are any."""
    if process is not None:
        process.bell()


def discover_models(found: WorkerProcess) -> None:
    """Publish what the upstreams without a list of models serve; again now and then, sooner while one is away."""
    asked = [upstream for upstream in upstreams if not upstream.models]
    while asked:
        away = False
        for upstream in asked:
            try:
                found.models.publish(upstream.name, discover(upstream))
            except BackendError as exc:
                away = True
                log.warning("upstream %s: %s", upstream.name, exc.message)
            except SpoolError as exc:
                away = True
                log.warning("models of %s not published: %s", upstream.name, exc)
        gevent.sleep(_DISCOVER_AGAIN_S if away else _DISCOVER_S)


@signals.setup_logging.connect
def setup_logging(**_: Any) -> None:
    """Spool's logging instead of Celery's."""
    configure_logs(settings.log_level, settings.log_format)


@signals.worker_ready.connect
def start(**_: Any) -> None:
    """Build what the jobs share, once Celery's pool is there."""
    global process
    process = WorkerProcess(settings, redis_url, Bell(app), backends)
    process.start()
    spawn_forever(partial(discover_models, process))


@signals.worker_shutting_down.connect
def drain(**_: Any) -> None:
    """SIGTERM: Celery stops consuming and waits for its greenlets; they end because the jobs are handed back."""
    global draining
    if process is not None and draining is None:
        draining = gevent.spawn(process.drain)


@signals.worker_shutdown.connect
def leave(**_: Any) -> None:
    """Celery waits for its tasks, and not for what else runs: a heartbeat's thread that is alive when the interpreter
    ends crashes it."""
    if draining is not None:
        draining.join(timeout=10)
