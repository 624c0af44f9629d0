"""The bell as a Celery message, against the installed Celery. How many are sent is tested with the bell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from celery.worker.request import Request
from kombu.transport.virtual import Channel, Message

from spool.bell import celery_app
from spool.bell_queue import QUEUE, TASK, redis_message


class _Channel(Channel):
    """kombu's decoding without a broker."""

    def __init__(self) -> None:
        self.body_encoding = "base64"

    def close(self) -> None:
        """Nothing is open."""


def test_celery_parses_the_message() -> None:
    """Celery's own ``Request`` finds the task, the argument and the expiry, and runs the task with them."""
    app, calls = celery_app("redis://127.0.0.1:1"), list[str]()

    @app.task(name=TASK)
    def bell(job_id: str = "") -> None:
        calls.append(job_id)

    message: Any = Message(orjson.loads(redis_message("j0abc")), channel=_Channel(), accept={"application/json"})
    request = Request(message, app=app, task=bell)
    args, kwargs, _embed = message.decode()
    assert (request.name, args, kwargs) == (TASK, ["j0abc"], {})
    assert request.delivery_info["routing_key"] == QUEUE
    assert request.expires is not None
    assert 0 < (request.expires - datetime.now(UTC)).total_seconds() <= 60
    assert not request.maybe_expire()
    app.tasks[request.name](*args, **kwargs)
    assert calls == ["j0abc"]
