"""Gunicorn's configuration for the web application, used by ``spool web`` and ``make run``."""

import gc

# Until everything is loaded, a collection finds nothing; enabled in ``when_ready`` and by ``collect_rarely``.
gc.disable()

from gevent import monkey  # noqa: E402

monkey.patch_all()

import atexit  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from spool.background import collect_rarely, raise_file_limit, return_large_blocks  # noqa: E402
from spool.broker import broker_connection  # noqa: E402
from spool.errors import SettingsError  # noqa: E402
from spool.logs import configure  # noqa: E402
from spool.run.temporary_files import temporary_directory  # noqa: E402
from spool.settings import WebSettings  # noqa: E402
from spool.tracing import tracing  # noqa: E402
from web.limits.streams import connections_for  # noqa: E402
from web.server.hung_processes import HANG_S, HungProcesses, allow_boot  # noqa: E402


def remove_if_master(folder: str, master: int) -> None:
    """Remove the folder when the master exits, but not when a child does."""
    if os.getpid() == master:
        shutil.rmtree(folder, ignore_errors=True)


try:
    settings = WebSettings.read()
    settings.check_exposure()
    temporary = temporary_directory()
    if url := settings.broker_url.get_secret_value() or settings.redis_url.get_secret_value():
        broker_connection(url)
except SettingsError as error:
    sys.exit(f"spool web: {error}")

if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # Set before prometheus_client is imported, because it chooses its mode then.
    folder = tempfile.mkdtemp(prefix="spool-metrics-", dir=temporary)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    atexit.register(remove_if_master, folder, os.getpid())

raise_file_limit()
return_large_blocks()
bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
worker_class = "web.server.gunicorn_worker.Worker"
workers = settings.web_processes
worker_connections = connections_for(settings.max_streams)
backlog = 4096
keepalive = 75
timeout = int(HANG_S)
graceful_timeout = max(1, int(settings.drain_s) + 2)
control_socket_disable = True
# Empty, or a client on loopback could change the request's path with these headers.
forwarder_headers = ""
accesslog = None
_DRAIN_CHECK_S = 0.1
_MASTERS_OWN = (signal.SIGHUP, signal.SIGUSR2)
"""Signals for the master alone. They would kill a serving process at once, as when a terminal is closed."""


def when_ready(server: Any) -> None:
    """Configure the master's log, and replace its check for hung processes."""
    gc.freeze()
    gc.enable()
    configure(settings.log_level, settings.log_format, content=settings.log_content)
    server.murder_workers = HungProcesses(server).end


def pre_fork(server: Any, worker: Any) -> None:
    """Give the process the place in the metrics that is free: a successor goes on with the counts."""
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = next(number for number in range(len(taken) + 1) if number not in taken)


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Configure the log and the place of each process, which then loads the application."""
    gc.disable()
    # Here, because the import chooses the mode of the library.
    from spool.metrics import take_place

    take_place(f"web{worker.place}")
    allow_boot(worker)
    configure(settings.log_level, settings.log_format, content=settings.log_content)


def post_worker_init(worker: Any) -> None:
    """Start this process's background work, and drain the streams when gunicorn stops. Gunicorn alone would wait for
    them, then cut them without a closing event."""
    # Here, because it imports the library of the metrics.
    from web.background import start

    for number in _MASTERS_OWN:
        signal.signal(number, lambda *_: None)
    state = worker.app_state
    tracing.start("web", state.instance)
    start(state)
    collect_rarely(lambda: state.slots.taken == 0)

    def watch() -> None:
        while worker.alive:
            gevent.sleep(_DRAIN_CHECK_S)
        state.drain()

    gevent.spawn(watch)


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Send the last spans of a process that ends in order."""
    tracing.stop()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Remove the live gauges of an exited process."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(f"web{worker.place}")  # type: ignore[no-untyped-call]
