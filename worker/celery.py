"""The worker program: ``celery -A worker worker --pool gevent``. Celery hears the bell and gives the greenlet."""

from __future__ import annotations

import logging
import signal
from functools import partial
from typing import Any

import gevent
from celery import bootsteps, signals
from celery.worker.request import Request
from gevent.greenlet import Greenlet
from kombu.utils import functional as kombu_functional

from spool.background import collect_rarely, raise_file_limit, spawn_forever
from spool.bell import Bell
from spool.bell_queue import TASK, bell_queue
from spool.errors import SpoolError
from spool.logs import configure as configure_logs
from spool.outage import Outage
from worker.assembly import build_app, build_backends, read_settings
from worker.backends import BackendError
from worker.models.continuation import spawn_proving
from worker.process import WorkerProcess
from worker.quarantine.pool import Annexes

log = logging.getLogger("spool.worker")

_DISCOVER_S = 60.0
_DISCOVER_AGAIN_S = 2.0


# Celery's lazy proxies import this module before gevent patches `time`; its waits for a lost broker would stop the
# whole hub, and with it every job.
kombu_functional.sleep = gevent.sleep  # type: ignore[attr-defined]
_IGNORES_HANGUP = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
settings = read_settings()
raise_file_limit()
app = build_app(settings)
upstreams = settings.upstreams()
annexes = Annexes()
process: WorkerProcess | None = None
draining: Greenlet[..., None] | None = None
app.conf.worker_consumer = "worker.bell_consumer:BellConsumer"


class Heard(Request):
    """A bell as Celery hears it: nothing is acknowledged. Celery would do so before it passes the bell on, and ask
    Redis to strike it off a list on which it never was, because its queue says ``no_ack``."""

    def acknowledge(self) -> None:
        """It is gone from the broker already."""
        self.acknowledged = True


@app.task(name=TASK, ignore_result=True, Request=Heard)
def bell(job_id: str = "") -> None:  # noqa: ARG001 - for whoever traces messages
    """The bell rang: take jobs while there are any."""
    if process is not None:
        process.bell()


# Of every greenlet that asks for it after a task, the app would make another one: a third of what a job's end costs.
bell.backend = app.backend


def discover_models(found: WorkerProcess) -> None:
    """Publish what the upstreams without a list of models serve; again now and then, sooner while one is away."""
    asked = [upstream for upstream in upstreams if not upstream.models]
    if not asked:
        return
    # Here: a worker without upstreams does not import the SDK.
    from worker.models.discovery import discover

    outages = {one.name: Outage(log, f"upstream {one.name}", "its models are not known anew") for one in asked}
    while True:
        away = False
        for upstream in asked:
            try:
                found.models.publish(upstream.name, discover(upstream))
                outages[upstream.name].worked()
            except (BackendError, SpoolError) as exc:
                away = True
                outages[upstream.name].failed(exc)
        gevent.sleep(_DISCOVER_AGAIN_S if away else _DISCOVER_S)


@signals.setup_logging.connect
def setup_logging(**_: Any) -> None:
    """Spool's logging instead of Celery's."""
    configure_logs(settings.log_level, settings.log_format)


class JobsStep(bootsteps.StartStopStep):
    """Jobs run from when Celery's pool is there, whether or not the broker is."""

    requires = ("celery.worker.components:Pool",)

    def start(self, _worker: Any) -> None:
        """Celery has set up its own signals by now."""
        obey_signals()
        start()


app.steps["worker"].add(JobsStep)


def obey_signals() -> None:
    """SIGHUP ends the worker as SIGTERM does: Celery would start itself again, by a command that does not exist.
    SIGUSR2, which has no meaning here, does not end it."""
    # Under nohup it is ignored, and should stay so.
    signal.signal(signal.SIGHUP, signal.SIG_IGN if _IGNORES_HANGUP else signal.getsignal(signal.SIGTERM))
    signal.signal(signal.SIGUSR2, lambda *_: None)


def start() -> None:
    """Build what the jobs share."""
    global process
    backends = build_backends(settings)
    broker_url = settings.broker_url.get_secret_value() or settings.redis_url.get_secret_value()
    process = WorkerProcess(settings, Bell(bell_queue(app, broker_url)), backends, annexes.want)
    process.start()
    collect_rarely(lambda: process is None or process.is_quiet)
    spawn_forever(partial(discover_models, process))
    spawn_proving(settings.static_models(), backends, process.models)


def leave_in_order(leaving: WorkerProcess) -> None:
    """Both at the same time: each has its drain time."""
    stopping = gevent.spawn(annexes.stop)
    leaving.drain()
    stopping.join()


@signals.worker_shutting_down.connect
def drain(**_: Any) -> None:
    """SIGTERM: Celery stops consuming and waits for its greenlets; they end because the jobs are handed back."""
    global draining
    if process is not None and draining is None:
        draining = gevent.spawn(leave_in_order, process)


@signals.worker_shutdown.connect
def leave(**_: Any) -> None:
    """Celery waits for its tasks, and not for what else runs: a heartbeat's thread that is alive when the interpreter
    ends crashes it. It also gets here without a signal, when it cannot go on."""
    drain()
    if draining is not None:
        draining.join(timeout=settings.worker_drain_s + 10)
