"""Celery's consumer, the side that hears the bell, with patience for a broker that is away or refuses.

Celery's own asks a broker that accepts a connection and then refuses ten times a second, with three lines of log each
time, and stops the hub for a second now and then.
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
"""A connection that lasted so long works: the broker has answered a call on it, each of which takes 2 s at most."""
_LOOK_S = 0.2


class BellConsumer(Consumer):
    """To be named in Celery's setting ``worker_consumer``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._outage = Outage(log, "broker", "bells are not heard, this worker looks for jobs by itself")
        self._steady: Greenlet[..., None] | None = None
        super().__init__(*args, **kwargs)
        for name in ("consumer", "connection"):
            # A line for each try; what an operator needs to know the outage says.
            logging.getLogger(f"celery.worker.consumer.{name}").setLevel(logging.ERROR)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long that takes."""
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
        """The connection could not be made to work at all."""
        self._pause(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The connection broke, or the broker refused."""
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
