"""Builds a worker program's parts from its settings.

Both programs use it: ``worker.celery``, whose many jobs share a process, and ``worker.quarantine``, which runs one job
at a time.
"""

from __future__ import annotations

import sys

from celery import Celery

from spool.bell import celery_app
from spool.errors import SettingsError
from spool.settings import WorkerSettings
from worker.backends import Backend
from worker.backends.demo.backend import Demo

_SWITCH_INTERVAL_S = 0.0005


def read_settings() -> WorkerSettings:
    """The worker's settings; exits with an error line if they are invalid."""
    try:
        settings = WorkerSettings.read()
        if not settings.redis_url.get_secret_value():
            raise SettingsError("SPOOL_REDIS_URL is not set (`spool run` sets it to the embedded server's)")
    except SettingsError as exc:
        sys.exit(f"spool worker: {exc}")
    # The heartbeat's thread iterates over all jobs and must not delay tokens. By default a thread keeps the interpreter
    # for 5 ms at a time.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    return settings


def build_app(settings: WorkerSettings) -> Celery:
    """The Celery application; exits with an error line if the broker's URL is invalid."""
    url = settings.broker_url.get_secret_value() or settings.redis_url.get_secret_value()
    try:
        return celery_app(url)
    except SettingsError as exc:
        sys.exit(f"spool worker: {exc}")


def build_backends(settings: WorkerSettings) -> dict[str, Backend]:
    """The backends, by the name that models use."""
    backends: dict[str, Backend] = {"demo": Demo()} if settings.demo else {}
    upstreams = settings.upstreams()
    if upstreams:
        # Imported here: the SDK takes as long to import as everything else together.
        from worker.backends.openai.backend import OpenAICompatible

        backends["openai"] = OpenAICompatible(upstreams)
    return backends
