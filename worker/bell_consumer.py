"""Celery's consumer, which receives bells, with backoff for a broker that is away or refuses.

If a broker accepts a connection and then refuses, Celery's own consumer retries ten times a second with three log lines
each. It also blocks the hub for a second at times.
"""

from __future__ import annotations

import logging
from typing import Any

import gevent
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from gevent.greenlet import Greenlet

from spool.outage import MOST_S, Outage

log = logging.getLogger("spool.bell")

STEADY_S = 3.0
"""A connection of this age works: the broker has answered a call on it, since a call takes at most 2 s."""
_LOOK_S = 0.2


class BellConsumer(Consumer):
    """The value of Celery's setting ``worker_consumer``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._outage = Outage(log, "broker", "no bells arrive, this worker polls for jobs")
        self._steady: Greenlet[..., None] | None = None
        super().__init__(*args, **kwargs)
        for name in ("consumer", "connection"):
            # They log a line for each try; the outage's lines say what an operator needs.
            logging.getLogger(f"celery.worker.consumer.{name}").setLevel(logging.ERROR)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect; retries for ever."""
        conn = conn.ensure_connection(
            lambda exc, _interval_s: self._outage.failed(exc),
            interval_start=1,
            interval_step=1,
            interval_max=MOST_S,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        self._steady = gevent.spawn_later(STEADY_S, self._outage.worked)
        return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Back off after a connection that could not be established."""
        self._pause(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Back off after a connection that broke, or a broker that refused."""
        super().on_connection_error_after_connected(exc)
        self._pause(exc)

    def _pause(self, exc: Exception) -> None:
        if self._steady is not None:
            self._steady.kill(block=False)
        until = self._outage.failed(exc)
        while until > 0:
            maybe_shutdown()
            gevent.sleep(min(_LOOK_S, until))
            until -= _LOOK_S
