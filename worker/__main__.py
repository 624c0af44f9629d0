"""The worker program, ``python -m worker``, as ``spool worker`` and ``spool run`` start it.

It is the worker of ``celery -A worker worker --pool gevent``, started without Celery's command line. That one imports
every command of Celery's and an interactive shell, a quarter of the time to the first job.
"""

import gc

# Until everything is loaded, a collection finds nothing; ``collect_rarely`` enables them.
gc.disable()

from gevent import monkey  # noqa: E402

monkey.patch_all()

import argparse  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402

from celery.utils.nodenames import nodename  # noqa: E402

from worker.celery import app, settings  # noqa: E402


def main() -> None:
    """Run the worker until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="One worker process of Spool.")
    parser.add_argument("--name", default="worker", help="the name in Celery's log lines (default: %(default)s)")
    name = parser.parse_args().name
    celery_worker = app.Worker(
        hostname=nodename(name, socket.gethostname()),
        pool_cls="gevent",
        concurrency=settings.worker_concurrency,
        loglevel=settings.log_level.upper(),
        quiet=True,
        # Messages among workers, which Spool does not need.
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    celery_worker.start()
    sys.exit(celery_worker.exitcode)


if __name__ == "__main__":
    main()
