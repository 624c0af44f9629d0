"""Builds a worker program's parts from its settings.

Both programs use it: ``worker.celery``, whose many jobs share a process, and ``worker.quarantine``, which runs one job
at a time.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial

import gevent
from celery import Celery
from gevent.event import Event

from spool.bell import Bell, celery_app
from spool.conditions import Conditions
from spool.errors import SettingsError
from spool.jobs.claims import Claims
from spool.jobs.closed_models import ClosedModels
from spool.jobs.keeper import Keeper
from spool.jobs.shards import Shard, Shards
from spool.models.model import Model
from spool.models.table import ModelTable
from spool.redis.link import RedisLink
from spool.redis.server_check import FitnessCheck
from spool.settings import WorkerSettings
from worker.appender import Appender
from worker.backends import Backend
from worker.backends.demo.backend import Demo
from worker.claiming import Claimer
from worker.coalescing import DueQueue
from worker.heartbeat import Heartbeat, Quarantine
from worker.ownership import OwnedAttempts
from worker.process import WorkerProcess
from worker.runner import JobRunner
from worker.shared_gate import AttemptGate, Reopening
from worker.slots import Slots
from worker.watchdog import Watchdog

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


def build_process(
    settings: WorkerSettings,
    backends: Mapping[str, Backend],
    bell: Bell | None = None,
    quarantine: Quarantine | None = None,
) -> WorkerProcess:
    """The process that the jobs share. Without a bell it is a quarantine process, which runs one job at a time."""
    # The random part: a restarted container has the same host name and process id as before.
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
    link, beats = _link(settings, "spool-worker", 8), _link(settings, "spool-heartbeat")
    shards = Shards.on(link, settings.shards)
    claims = _claims(settings, shards, name, bell)
    models, appenders = _models(settings, link), _appenders(settings)
    draining, watchdog, due, attempts = Event(), Watchdog(), DueQueue(), OwnedAttempts(claims)
    claims.batch_running = lambda: attempts.batch_running

    def served() -> list[Model]:
        return [model for model in models.all() if model.backend in backends]

    claimer = Claimer(claims, served, watchdog, draining, lease_s=settings.lease_s, sleep=gevent.sleep)
    runner = JobRunner(
        claims,
        claimer,
        attempts,
        models=models,
        backends=backends,
        appenders=appenders,
        due=due,
        bell=bell,
        draining=draining,
        max_output_bytes=settings.max_output_bytes,
        gate_of=partial(AttemptGate, ClosedModels(shards), reopening=Reopening(lambda: slots.fill())),
    )
    slots = Slots(
        claimer,
        runner,
        FitnessCheck(link, Conditions(), shards=len(shards)),
        draining,
        count=settings.worker_concurrency if bell is not None else 1,
        bells=bell is not None,
    )
    beating = _claims(settings, Shards.on(beats, settings.shards), name, bell)
    loops = [*(appender.run for appender in appenders), due.run]
    if bell is not None:
        loops += [slots.patrol, *_keepers(settings, shards, bell, draining)]
    return WorkerProcess(
        name=name,
        models=models,
        bell=bell,
        slots=slots,
        runner=runner,
        attempts=attempts,
        heartbeat=Heartbeat(beating, attempts, slots, watchdog, quarantine),
        watchdog=watchdog,
        draining=draining,
        drain_s=settings.worker_drain_s,
        loops=loops,
    )


def _link(settings: WorkerSettings, name: str, connections: int = 1) -> RedisLink:
    return RedisLink(settings.redis_url.get_secret_value(), connections=connections, name=name)


def _models(settings: WorkerSettings, link: RedisLink) -> ModelTable:
    upstreams = [upstream.name for upstream in settings.upstreams()]
    return ModelTable(link, settings.static_models(), upstreams, settings.default_model)


def _claims(settings: WorkerSettings, shards: Shards, worker: str, bell: Bell | None) -> Claims:
    return Claims(
        shards,
        worker=worker,
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
        slots=settings.worker_concurrency if bell is not None else 0,
        shares=settings.class_shares(),
    )


def _appenders(settings: WorkerSettings) -> list[Appender]:
    """One for each shard, each with a connection of its own."""
    return [
        Appender(Shard(number, _link(settings, "spool-appender")), lease_s=settings.lease_s, sleep=gevent.sleep)
        for number in range(settings.shards)
    ]


def _keepers(settings: WorkerSettings, shards: Shards, bell: Bell, draining: Event) -> list[Callable[[], None]]:
    """The loops of the keepers, one for each shard."""
    keepers = [
        Keeper(shard, bell.ring, lease_s=settings.lease_s, max_attempts=settings.max_attempts) for shard in shards
    ]
    return [partial(keeper.run, gevent.sleep, draining.is_set) for keeper in keepers]
