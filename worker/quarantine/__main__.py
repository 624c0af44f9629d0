"""Quarantine, ``python -m worker.quarantine``: runs suspected poison jobs, which lost two processes, one at a time.

It ends when no such job waits, or when the worker that started it ends (see ``worker.quarantine.pool``).
"""

from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import signal  # noqa: E402

import gevent  # noqa: E402
from gevent.socket import wait_read  # noqa: E402

from spool.deadline import Deadline  # noqa: E402
from spool.instance import worker_instance  # noqa: E402
from spool.logs import configure as configure_logs  # noqa: E402
from spool.tracing import tracing  # noqa: E402
from worker.assembly import build_backends, build_process, read_settings  # noqa: E402
from worker.process import WorkerProcess  # noqa: E402

log = logging.getLogger("spool.worker")

_IDLE_S = 2.0
_LOOK_S = 0.25


def main() -> None:
    """Run quarantined jobs until none has waited for ``_IDLE_S``."""
    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format, content=settings.log_content)
    process = build_process(settings, build_backends(settings))
    tracing.start("worker", f"{worker_instance()}/quarantine")
    process.start()
    log.info("worker %s runs up to 1 job at a time", process.name)
    running = gevent.spawn(_run_jobs, process)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        gevent.signal_handler(number, process.draining.set)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    # Standard input is a pipe from the worker that started this program: it becomes readable when that worker ends.
    worker_gone = gevent.spawn(wait_read, 0)
    while not (running.ready() or process.draining.is_set() or worker_gone.ready()):
        gevent.sleep(_LOOK_S)
    process.drain()
    tracing.stop()


def _run_jobs(process: WorkerProcess) -> None:
    idle_until = Deadline.after(_IDLE_S)
    while not process.draining.is_set() and not idle_until.passed:
        if process.slots.run_one("apart"):
            idle_until = Deadline.after(_IDLE_S)
        else:
            gevent.sleep(_LOOK_S)


if __name__ == "__main__":
    main()
