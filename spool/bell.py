"""The bell: a Celery message that wakes a worker with a free slot. It carries no work, only a job's id for tracing.

Celery alone guarantees nothing: a message acknowledged early is lost with its worker, and one acknowledged late runs
twice. So Redis is the source of truth, and the keeper rings again for a lost bell.
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
from spool.metrics import BELLS_DROPPED
from spool.outage import Outage

BELLS_AT_MOST = 200
"""Limit for the undelivered bells, as far as one process knows: with so many, there is one for every slot that may
become free soon."""
_MEASURED_EVERY = 50
_FULL_FOR_S = 0.1
_WAITING_AT_MOST = 1000
_FEW = 2
_MOMENT_S = 0.005

log = logging.getLogger("spool.bell")


def celery_app(broker_url: str) -> Celery:
    """The Celery application, for both the sender and the receiver of bells. Raises ``SettingsError``."""
    url, tls = broker_connection(broker_url)
    app = Celery("spool", broker=url, set_as_current=False)
    app.conf.update(
        broker_use_ssl=tls,
        task_acks_late=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_default_queue=QUEUE,
        # No acknowledgements: a lost bell is rung again, and the unacknowledged bells of a dead worker would stay in
        # kombu's records for ever.
        # The default exchange routes to the queue with the routing key's name. With another exchange, kombu would query
        # its queues in Redis before each message.
        task_queues=[Queue(QUEUE, Exchange(""), routing_key=QUEUE, no_ack=True)],
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        worker_prefetch_multiplier=1,
        # Without effect, because bells are not acknowledged late. If it is unset, Celery warns of its future default at
        # each lost connection.
        worker_cancel_long_running_tasks_on_connection_loss=True,
        # A worker without a free slot leaves the bell to another worker.
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A broker that refuses (a replica after a failover, out of memory) is retried like one that is away.
        broker_channel_error_retry=True,
        broker_transport_options={
            # No polling_interval: under gevent kombu sleeps that long after each empty poll and receives no bell.
            # It only serves the sweep of unacknowledged messages, of which there are none.
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
        task_publish_retry=False,
        # Celery's default would block a publisher for minutes; the keeper rings later.
        broker_connection_timeout=2,
        broker_pool_limit=4,
        timezone="UTC",
    )
    return app


class Bell:
    """Rings from its own greenlet: the keeper does not wait for the broker, and a request waits a few milliseconds at
    most (``let_ring``).

    While the broker is away or refuses, bells are dropped, and the broker is retried with backoff. No job is lost: the
    jobs are in Redis, workers poll for them, and the keeper rings again.
    """

    def __init__(self, queue: BellQueue, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._clock = clock
        self._room = 0
        self._was_full_at = float("-inf")
        self._waiting: deque[str] = deque(maxlen=_WAITING_AT_MOST)
        self._has_waiting = Event()
        self._all_rung = Event()
        self._outage = Outage(log, "broker", "no bells are sent, workers poll for jobs")

    def start(self) -> Greenlet[..., None]:
        """Start the greenlet that sends bells, and connect to the broker before the first job needs it."""
        return spawn_forever(self._run)

    @property
    def is_quiet(self) -> bool:
        """Whether no bell waits to be sent."""
        return not self._waiting and self._all_rung.is_set()

    def ring(self, job_id: str = "") -> None:
        """Queue one bell, which is sent soon."""
        if self._outage.left_s:
            return
        self._waiting.append(job_id)
        self._all_rung.clear()
        self._has_waiting.set()

    def let_ring(self) -> None:
        """Yield briefly until the queued bells are sent: the sooner a worker gets the bell, the sooner the job begins,
        while the request continues."""
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
            BELLS_DROPPED.inc(max(1, len(self._waiting)))
            self._waiting.clear()
            self._outage.failed(exc)
        else:
            self._outage.worked()

    def _send_waiting(self) -> None:
        while self._waiting:
            self._room = self._room or self._measured_room()
            if not self._room:
                # The bells in the broker suffice for every free slot.
                self._waiting.clear()
                return
            some = [self._waiting.popleft() for _ in range(min(self._room, len(self._waiting)))]
            self._room -= len(some)
            self._queue.send(some)

    def _measured_room(self) -> int:
        """How many bells may be sent before the undelivered ones are counted again."""
        if self._clock() - self._was_full_at < _FULL_FOR_S:
            return 0
        room = max(0, min(_MEASURED_EVERY, BELLS_AT_MOST - self._queue.unheard()))
        if not room:
            self._was_full_at = self._clock()
        return room
