"""The Celery application of a worker: Celery receives bells and provides a greenlet for each. ``celery -A worker worker
--pool gevent`` starts it too."""

from __future__ import annotations

import logging
import signal
import warnings
from functools import partial
from typing import Any

import gevent
from celery import bootsteps, signals
from celery.exceptions import SecurityWarning
from celery.worker.request import Request
from gevent.greenlet import Greenlet
from kombu.utils import functional as kombu_functional
from prometheus_client import start_http_server

from spool.background import collect_rarely, raise_file_limit, spawn_forever
from spool.bell import Bell
from spool.bell_queue import TASK, bell_queue
from spool.deadline import Deadline
from spool.errors import SpoolError
from spool.instance import worker_instance
from spool.jobs.job import SCHEMA
from spool.logs import configure as configure_logs
from spool.outage import Outage
from spool.process_health import watch
from spool.tracing import tracing
from worker.assembly import build_app, build_backends, build_process, read_settings
from worker.backends import BackendError
from worker.models.continuation import Provings
from worker.models.models_file import ModelsFile
from worker.process import WorkerProcess
from worker.quarantine.pool import QuarantinePool

log = logging.getLogger("spool.worker")

_DISCOVER_S = 60.0
_DISCOVER_AGAIN_S = 2.0


# Celery's lazy proxies import this module before gevent patches `time`. Unpatched, its waits for a lost broker would
# block the hub and every job.
kombu_functional.sleep = gevent.sleep  # type: ignore[attr-defined]
# Celery warns of root because of messages that run code (pickle). It accepts only JSON here.
warnings.filterwarnings("ignore", category=SecurityWarning)
_IGNORES_HANGUP = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
settings = read_settings()
raise_file_limit()
app = build_app(settings)
upstreams = settings.reread_upstreams()
quarantine = QuarantinePool()
process: WorkerProcess | None = None
draining: Greenlet[..., None] | None = None
app.conf.worker_consumer = "worker.bell_consumer:BellConsumer"


class Heard(Request):
    """A bell in Celery's terms, without acknowledgement. The queue is ``no_ack``, so Celery's acknowledgement would
    only remove the bell from a Redis list that never held it."""

    def acknowledge(self) -> None:
        """Do nothing: the broker has dropped the bell already."""
        self.acknowledged = True


@app.task(name=TASK, ignore_result=True, Request=Heard)
def bell(job_id: str = "") -> None:  # noqa: ARG001 - for message tracing
    """Handle a bell: claim jobs while there are any."""
    if process is not None:
        process.rung()


# Set once: otherwise the app creates one for each greenlet that reads it after a task, a third of a job end's cost.
bell.backend = app.backend


def discover_models(worker_process: WorkerProcess, models_file: ModelsFile) -> None:
    """Publish the models of the upstreams that are configured without a list: regularly, sooner while one is away or
    after a change of the models file."""
    outages: dict[str, Outage] = {}
    while True:
        unlisted, away = [upstream for upstream in models_file.upstreams if not upstream.models], False
        for upstream in unlisted:
            # Imported here, so that a worker without upstreams does not import the SDK.
            from worker.models.discovery import discover

            service = f"upstream {upstream.name}"
            outage = outages.setdefault(service, Outage(log, service, "its list of models is not refreshed"))
            try:
                worker_process.models.publish(upstream.name, discover(upstream))
                outage.worked()
            except (BackendError, SpoolError) as exc:
                away = True
                outage.failed(exc)
        again = Deadline.after(_DISCOVER_AGAIN_S if away else _DISCOVER_S)
        while not again.passed and unlisted == [one for one in models_file.upstreams if not one.models]:
            gevent.sleep(_DISCOVER_AGAIN_S)


@signals.setup_logging.connect
def setup_logging(**_: Any) -> None:
    """Configure Spool's logging instead of Celery's."""
    configure_logs(settings.log_level, settings.log_format, content=settings.log_content)


class JobsStep(bootsteps.StartStopStep):
    """Starts running jobs once Celery's pool exists, with or without a broker."""

    requires = ("celery.worker.components:Pool",)

    def start(self, _worker: Any) -> None:
        """Set the signal handlers, after Celery has set its own, and start."""
        obey_signals()
        start()


app.steps["worker"].add(JobsStep)


def obey_signals() -> None:
    """Make SIGHUP end the worker as SIGTERM does: Celery would restart itself by a command that does not exist.
    Ignore SIGUSR2, which has no meaning here."""
    # Under nohup SIGHUP is ignored and must stay so.
    signal.signal(signal.SIGHUP, signal.SIG_IGN if _IGNORES_HANGUP else signal.getsignal(signal.SIGTERM))
    signal.signal(signal.SIGUSR2, lambda *_: None)


def start() -> None:
    """Build and start the process that the jobs share."""
    global process
    backends = build_backends(settings)
    broker_url = settings.broker_url.get_secret_value() or settings.redis_url.get_secret_value()
    process = build_process(settings, backends, Bell(bell_queue(app, broker_url)), quarantine)
    tracing.start("worker", worker_instance())
    process.start()
    log.info("worker %s runs up to %d jobs at a time", process.name, settings.worker_concurrency)
    collect_rarely(lambda: process is None or process.is_quiet)
    provings = Provings(backends, process.models)
    models_file = ModelsFile(upstreams, settings.models_of, process.models, backends, provings)
    spawn_forever(models_file.run)
    spawn_forever(partial(discover_models, process, models_file))
    spawn_forever(watch("worker", SCHEMA))
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_host)


def leave_in_order(leaving: WorkerProcess) -> None:
    """Drain this process and its quarantine processes at the same time, each within its drain time."""
    stopping = gevent.spawn(quarantine.stop)
    leaving.drain()
    stopping.join()


@signals.worker_shutting_down.connect
def drain(**_: Any) -> None:
    """Drain on SIGTERM. Celery stops consuming and waits for its greenlets, which end once jobs are handed back."""
    global draining
    if process is not None and draining is None:
        draining = gevent.spawn(leave_in_order, process)


@signals.worker_shutdown.connect
def leave(**_: Any) -> None:
    """Wait for the drain. Celery waits for its tasks only, and a heartbeat's thread that is alive when the interpreter
    ends crashes it. Celery also calls this without a signal, after a fatal error."""
    drain()
    if draining is not None:
        draining.join(timeout=settings.worker_drain_s + 10)
    tracing.stop()
