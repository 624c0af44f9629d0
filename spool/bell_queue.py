"""The broker's queue of bells, as the sender uses it.

Any broker of Celery's is used through kombu. If the broker is one Redis server, bells are written directly to kombu's
list, many in one round trip. kombu builds a client for each message, which was a third of a submit's cost in a web.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import orjson
from celery import Celery
from kombu import Producer
from kombu.exceptions import OperationalError

from spool.errors import StoreUnavailable
from spool.redis.link import RedisLink

TASK = "spool.bell"
QUEUE = "spool"
_EXPIRES = timedelta(seconds=60)
_TIMEOUT_S = 2.0


class BellQueue(Protocol):
    """The queue's operations. Each raises ``StoreUnavailable`` if the broker is away or refuses."""

    def warm(self) -> None:
        """Connect."""

    def unheard(self) -> int:
        """The number of bells that wait in the broker."""

    def send(self, job_ids: Sequence[str]) -> None:
        """Ring once for each job."""


def bell_queue(app: Celery, broker_url: str) -> BellQueue:
    """The queue of the broker that ``app`` connects to. ``broker_url`` has redis-py's form, or Celery's."""
    url = _one_redis(broker_url)
    if url is None:
        return KombuBells(app)
    return RedisBells(RedisLink(url, timeout_s=_TIMEOUT_S, connections=2, name="spool-bell"))


def _one_redis(broker_url: str) -> str | None:
    """The URL in redis-py's form if this broker is one Redis server, else None."""
    parts = urlsplit(broker_url)
    if ";" in broker_url or parts.scheme not in ("redis", "rediss", "unix", "redis+socket"):
        return None
    if parts.scheme != "redis+socket":
        return broker_url
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{parts.netloc}{parts.path}?db={database}"


class RedisBells:
    """The list that kombu's transport for Redis reads."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def warm(self) -> None:
        """See ``BellQueue``."""
        self._link.call("PING")

    def unheard(self) -> int:
        """See ``BellQueue``."""
        return int(self._link.call("LLEN", QUEUE))

    def send(self, job_ids: Sequence[str]) -> None:
        """See ``BellQueue``."""
        self._link.call("LPUSH", QUEUE, *map(redis_message, job_ids))


def redis_message(job_id: str) -> bytes:
    """A bell as kombu's transport for Redis stores it (``kombu.transport.virtual``)."""
    headers = _headers()
    properties = {
        "correlation_id": headers["id"],
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid4()),
    }
    return orjson.dumps(
        {
            "body": b64encode(orjson.dumps(_body(job_id))).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )


class KombuBells:
    """A queue of any broker that Celery knows."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def warm(self) -> None:
        """Connect, because the first publish would otherwise cost 50 ms."""
        with self._producer() as producer:
            connection: Any = producer.connection
            connection.ensure_connection(max_retries=1)

    def unheard(self) -> int:
        """See ``BellQueue``."""
        with self._producer() as producer:
            channel: Any = producer.channel
            # Declared as a worker declares it; the answer contains the number of messages.
            queue = channel.queue_declare(queue=QUEUE, durable=True, exclusive=False, auto_delete=False)
            return int(queue.message_count)

    def send(self, job_ids: Sequence[str]) -> None:
        """See ``BellQueue``."""
        with self._producer() as producer:
            for job_id in job_ids:
                headers = _headers()
                producer.publish(
                    _body(job_id),
                    exchange="",
                    routing_key=QUEUE,
                    correlation_id=headers["id"],
                    headers=headers,
                    serializer="json",
                )

    @contextmanager
    def _producer(self) -> Iterator[Producer]:
        try:
            with self._app.producer_pool.acquire(block=True, timeout=2) as producer:
                connection: Any = producer.connection
                try:
                    yield producer
                except (*connection.connection_errors, *connection.channel_errors) as exc:
                    raise StoreUnavailable(str(exc)) from exc
        except (OperationalError, OSError) as exc:
            raise StoreUnavailable(str(exc)) from exc


def _headers() -> dict[str, str]:
    """The headers of Celery's message ("Message Protocol", version 2, in its documentation) that a worker needs.
    ``send_task`` sets three times as many and takes half as long again."""
    message_id = str(uuid4())
    # It expires, because a late bell wakes a worker for nothing.
    expires = datetime.now(UTC) + _EXPIRES
    return {"lang": "py", "task": TASK, "id": message_id, "root_id": message_id, "expires": expires.isoformat()}


def _body(job_id: str) -> tuple[tuple[str], dict[str, Any], dict[str, Any]]:
    return (job_id,), {}, {}
