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

from spool.batches.feeder import Feeder
from spool.bell import Bell, celery_app
from spool.conditions import Conditions
from spool.errors import SettingsError
from spool.files.records import FileLimits
from spool.files.urls import files_at
from spool.instance import worker_instance
from spool.jobs.claims import Claims
from spool.jobs.class_shares import BatchSlots
from spool.jobs.closed_models import ClosedModels
from spool.jobs.keeper import Keeper
from spool.jobs.packer import Packer
from spool.jobs.shards import Shard, Shards
from spool.jobs.store import JobStore
from spool.metrics import count_from_zero
from spool.models.model import Model
from spool.models.table import ModelTable
from spool.redis.link import RedisLink
from spool.redis.server_check import FitnessCheck
from spool.settings import WorkerSettings
from spool.status.instances import PUBLISH_S, Instance, Presence
from spool.switches.board import LOOK_S, Board
from spool.switches.store import SwitchStore
from spool.webhooks.deliverer import BoundedLookups, Deliverer
from spool.webhooks.delivery_store import Deliveries
from spool.webhooks.endpoint_store import Endpoints
from spool.webhooks.sender import Sender
from worker.appender import Appender
from worker.backends import Backend
from worker.backends.demo.backend import Demo
from worker.claiming import Claimer
from worker.coalescing import DueQueue
from worker.heartbeat import Heartbeat, Quarantine
from worker.metrics import WEBHOOK_ATTEMPTS
from worker.models.models_file import use_upstreams
from worker.neighbours import Neighbours
from worker.ownership import OwnedAttempts
from worker.process import WorkerProcess
from worker.returned_files import ReturnedFiles
from worker.runner import JobRunner
from worker.shared_gate import AttemptGate, Reopening
from worker.slots import Slots
from worker.watchdog import Watchdog

_SWITCH_INTERVAL_S = 0.0005
_UPLOAD_LEASE_S = 120.0
"""How long a file of an answer may make no progress while it is stored."""


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
    use_upstreams(backends, settings.upstreams())
    return backends


def build_process(
    settings: WorkerSettings,
    backends: Mapping[str, Backend],
    bell: Bell | None = None,
    quarantine: Quarantine | None = None,
) -> WorkerProcess:
    """The process that the jobs share. Without a bell it is a quarantine process, which runs one job at a time."""
    return _Assembly(settings, backends, bell).process(quarantine)


def _count_attempt(outcome: str) -> None:
    WEBHOOK_ATTEMPTS.labels(outcome).inc()


class _Assembly:
    """The parts of one process."""

    def __init__(self, settings: WorkerSettings, backends: Mapping[str, Backend], bell: Bell | None) -> None:
        self._settings = settings
        self._backends = backends
        self._bell = bell
        self._slot_count = settings.worker_concurrency if bell is not None else 0
        # The random part: a restarted container has the same host name and process id as before. The p says that this
        # version reads packed logs (take_unpacked.lua).
        self._name = f"{socket.gethostname()}:{os.getpid()}:p-{secrets.token_hex(3)}"
        self._link = self._new_link("spool-worker", connections=8)
        self._shards = Shards.on(self._link, settings.shards)
        batch_slots = BatchSlots(settings.class_shares().batch_slots(self._slot_count) if self._slot_count else None)
        self._claims = self._claims_on(self._shards, batch_slots)
        upstreams = [upstream.name for upstream in settings.upstreams()]
        self._models = ModelTable(self._link, settings.static_models(), upstreams, settings.default_model)
        self._appenders = [
            Appender(Shard(number, self._new_link("spool-appender")), lease_s=settings.lease_s, sleep=gevent.sleep)
            for number in range(settings.shards)
        ]
        self._switches = Board(SwitchStore(self._link))
        self._instance = worker_instance()
        self._due = DueQueue()
        self._attempts = OwnedAttempts(self._claims, batch_slots=batch_slots)
        self._watchdog = Watchdog()
        self._draining = Event()

    def process(self, quarantine: Quarantine | None) -> WorkerProcess:
        """The process."""
        slots = self._slots()
        loops = [*(appender.run for appender in self._appenders), self._due.run, self._watch_switches]
        redis_url = self._settings.redis_url.get_secret_value()
        neighbours = Neighbours(self._name, redis_url, self._claims.end_leases_of)
        if self._bell is not None:
            loops += [slots.patrol, self._publish, partial(neighbours.watch, gevent.sleep, self._draining.is_set)]
            loops += [*self._keepers(self._bell), *self._feeders(self._bell), *self._packers(), *self._deliverers()]
        # Its connection is the heartbeat's alone: no other call may delay a beat.
        beating = self._claims_on(Shards.on(self._new_link("spool-heartbeat"), self._settings.shards))
        return WorkerProcess(
            name=self._name,
            models=self._models,
            bell=self._bell,
            slots=slots,
            attempts=self._attempts,
            heartbeat=Heartbeat(beating, self._attempts, slots, self._watchdog, quarantine),
            watchdog=self._watchdog,
            neighbours=neighbours,
            draining=self._draining,
            drain_s=self._settings.worker_drain_s,
            loops=loops,
        )

    def _slots(self) -> Slots:
        claimer = Claimer(
            self._claims,
            self._served,
            self._watchdog,
            self._draining,
            lease_s=self._settings.lease_s,
            sleep=gevent.sleep,
        )
        fitness = FitnessCheck(self._link, Conditions(), shards=len(self._shards))
        has_bells = self._bell is not None
        count = self._settings.worker_concurrency if has_bells else 1
        runner = self._runner(claimer, Reopening(lambda: slots.fill()))
        slots = Slots(
            claimer, runner, fitness, self._draining, count=count, bells=has_bells, is_drained=self._is_drained
        )
        return slots

    def _runner(self, claimer: Claimer, reopening: Reopening) -> JobRunner:
        return JobRunner(
            self._claims,
            claimer,
            self._attempts,
            models=self._models,
            backends=self._backends,
            appenders=self._appenders,
            due=self._due,
            bell=self._bell,
            draining=self._draining,
            max_output_bytes=self._settings.max_output_bytes,
            files=self._returned_files(),
            gate_of=partial(AttemptGate, ClosedModels(self._shards), reopening=reopening),
        )

    def _returned_files(self) -> ReturnedFiles:
        settings, link = self._settings, self._new_link("spool-files")
        # A worker does not know whether there are several owners, so each has its share.
        limits = FileLimits(settings.max_files_bytes, int(settings.max_files_bytes * settings.owner_share))
        return ReturnedFiles(files_at(settings.files_url, link, limits, _UPLOAD_LEASE_S), settings.job_ttl_s)

    def _served(self) -> list[Model]:
        """The models that jobs may begin of. Raises ``StoreUnavailable`` until the switches have been read once."""
        self._switches.look_if_new()
        if self._is_drained():
            return []
        served = [model for model in self._models.all() if model.backend in self._backends]
        return [model for model in served if not self._switches.pauses(model.name)]

    def _is_drained(self) -> bool:
        return self._switches.drain_of(self._instance) is not None

    def _publish(self) -> None:
        def models() -> list[str]:
            return [model.name for model in self._models.all() if model.backend in self._backends]

        own = Instance.of_this_process(self._instance, "worker")
        presence = Presence(self._link, own, is_drained=self._is_drained, models=models)
        while not self._draining.is_set():
            count_from_zero(models())
            presence.publish_or_leave()
            gevent.sleep(PUBLISH_S)

    def _watch_switches(self) -> None:
        while not self._draining.is_set():
            self._switches.look_or_leave()
            gevent.sleep(LOOK_S)

    def _claims_on(self, shards: Shards, batch_slots: BatchSlots | None = None) -> Claims:
        return Claims(
            shards,
            worker=self._name,
            lease_s=self._settings.lease_s,
            max_attempts=self._settings.max_attempts,
            slots=self._slot_count,
            shares=self._settings.class_shares(),
            batch_slots=batch_slots,
        )

    def _keepers(self, bell: Bell) -> list[Callable[[], None]]:
        """The loops of the keepers, one for each shard."""
        lease_s, max_attempts = self._settings.lease_s, self._settings.max_attempts
        keepers = [Keeper(shard, bell.ring, lease_s=lease_s, max_attempts=max_attempts) for shard in self._shards]
        return [partial(keeper.run, gevent.sleep, self._draining.is_set) for keeper in keepers]

    def _feeders(self, bell: Bell) -> list[Callable[[], None]]:
        """The loops of the feeders, one for each shard."""
        feeders = [Feeder(shard, JobStore(self._shards), bell.ring) for shard in self._shards]
        return [partial(feeder.run, gevent.sleep, self._draining.is_set) for feeder in feeders]

    def _packers(self) -> list[Callable[[], None]]:
        """The loops of the packers, one for each shard."""
        after_s = self._settings.pack_after_s
        packers = [Packer(shard, after_s=after_s) for shard in self._shards] if after_s else []
        return [partial(packer.run, gevent.sleep, self._draining.is_set) for packer in packers]

    def _deliverers(self) -> list[Callable[[], None]]:
        """The loops that deliver webhooks, one for each shard. Their own link: a burst of events delays no claim."""
        shards = Shards.on(self._new_link("spool-webhooks", connections=4), self._settings.shards)
        sender = Sender(self._settings.webhook_addresses(), BoundedLookups())
        deliverers = [
            Deliverer(shard, Deliveries(shards), Endpoints(shards), sender, observe=_count_attempt) for shard in shards
        ]
        return [partial(deliverer.run, gevent.sleep, self._draining.is_set) for deliverer in deliverers]

    def _new_link(self, name: str, connections: int = 1) -> RedisLink:
        return RedisLink(self._settings.redis_url.get_secret_value(), connections=connections, name=name)
