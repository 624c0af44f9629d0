"""The bell: the Celery message that wakes a worker with a free slot. It carries no work, only a job's id for tracing.

Celery alone does not keep a promise (a message that is acknowledged early is lost with its worker, one that is
acknowledged late runs twice): the truth is in Redis, and a bell that gets lost is rung again by the keeper.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from celery import Celery
from gevent.event import Event
from gevent.greenlet import Greenlet
from kombu import Exchange, Queue

from spool.background import spawn_forever
from spool.bell_queue import QUEUE, BellQueue
from spool.broker import broker_connection
from spool.errors import SpoolError
from spool.outage import Outage

BELLS_AT_MOST = 200
"""Bells that are unheard at a time, as far as one process knows: beyond it there is one for every slot that may become
free soon."""
_MEASURED_EVERY = 50
_FULL_FOR_S = 0.1
_WAITING_AT_MOST = 1000
_FEW = 2
_MOMENT_S = 0.005

log = logging.getLogger("spool.bell")


def celery_app(broker_url: str) -> Celery:
    """The Celery application, as the side that rings and the side that hears both need it. Raises ``SettingsError``."""
    url, tls = broker_connection(broker_url)
    app = Celery("spool", broker=url, set_as_current=False)
    app.conf.update(
        broker_use_ssl=tls,
        task_acks_late=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_default_queue=QUEUE,
        # Nothing is acknowledged: a bell that is lost is rung again, and those of a worker that died would stay in
        # kombu's books for ever.
        # The default exchange leads to the queue of the routing key's name: with one of its own kombu would ask Redis
        # for its queues before each message.
        task_queues=[Queue(QUEUE, Exchange(""), routing_key=QUEUE, no_ack=True)],
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        worker_prefetch_multiplier=1,
        # A worker whose slots are full leaves the bell to another one.
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A broker that refuses (a replica after a failover, out of memory) is waited out like one that is away.
        broker_channel_error_retry=True,
        broker_transport_options={
            # No polling_interval: under gevent kombu sleeps that long after each empty poll, deaf to the bell.
            # What it would keep alive is the sweep of unacknowledged messages, and there are none.
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
        task_publish_retry=False,
        # Celery's own default would hold a publisher for minutes; the keeper rings later.
        broker_connection_timeout=2,
        broker_pool_limit=4,
        timezone="UTC",
    )
    return app


class Bell:
    """Rings, from a greenlet of its own: the keeper does not wait for the broker, a request for a few milliseconds at
    most (``let_ring``). While it is away or refuses, bells are dropped, and it is tried again after ever longer pauses:
    the jobs are in Redis, workers look for them by themselves, and the keeper rings again."""

    def __init__(self, queue: BellQueue, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._clock = clock
        self._room = 0
        self._was_full_at = float("-inf")
        self._waiting: deque[str] = deque(maxlen=_WAITING_AT_MOST)
        self._has_waiting = Event()
        self._all_rung = Event()
        self._outage = Outage(log, "broker", "bells are not rung, workers look for jobs by themselves")

    def start(self) -> Greenlet[..., None]:
        """Begin to ring what waits, and open the broker's connection before the first job needs it."""
        return spawn_forever(self._run)

    @property
    def is_quiet(self) -> bool:
        """Nothing waits to be rung."""
        return not self._waiting and self._all_rung.is_set()

    def ring(self, job_id: str = "") -> None:
        """One message for one free slot, soon."""
        if self._outage.left_s:
            return
        self._waiting.append(job_id)
        self._all_rung.clear()
        self._has_waiting.set()

    def let_ring(self) -> None:
        """Give way until it has rung, but only for a moment: the sooner a worker hears of a job the sooner it begins,
        and what else is to be done for the request can be done meanwhile."""
        if self._waiting and len(self._waiting) <= _FEW:
            self._all_rung.wait(_MOMENT_S)

    def _run(self) -> None:
        self._attempt(self._queue.warm)
        while True:
            self._has_waiting.wait()
            self._has_waiting.clear()
            if self._waiting:
                self._attempt(self._send_waiting)
            self._all_rung.set()

    def _attempt(self, use: Callable[[], None]) -> None:
        try:
            use()
        except SpoolError as exc:
            self._waiting.clear()
            self._outage.failed(exc)
        else:
            self._outage.worked()

    def _send_waiting(self) -> None:
        while self._waiting:
            self._room = self._room or self._measured_room()
            if not self._room:
                # Each free slot will hear one of those that are there.
                self._waiting.clear()
                return
            some = [self._waiting.popleft() for _ in range(min(self._room, len(self._waiting)))]
            self._room -= len(some)
            self._queue.send(some)

    def _measured_room(self) -> int:
        """How many bells may be rung until the broker is asked again how many are unheard."""
        if self._clock() - self._was_full_at < _FULL_FOR_S:
            return 0
        room = max(0, min(_MEASURED_EVERY, BELLS_AT_MOST - self._queue.unheard()))
        if not room:
            self._was_full_at = self._clock()
        return room
