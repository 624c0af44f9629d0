"""A Celery worker whose queue is a list in Redis: what most applications use. Notes when its tasks begin and end."""

from __future__ import annotations

import os
import time

from celery import Celery, signals
from redis import Redis

app = Celery("bench.peers.celery_list", broker=os.environ.get("BENCH_BROKER", ""))
app.conf.worker_prefetch_multiplier = 1
app.conf.task_acks_late = True
app.conf.task_reject_on_worker_lost = True
app.conf.broker_transport_options = {"visibility_timeout": 5}
redis = Redis(unix_socket_path=os.environ.get("BENCH_REDIS"))


@signals.worker_ready.connect
def ready(sender: object, **_: object) -> None:
    """Report this worker as ready."""
    redis.sadd("workers", str(sender))


@app.task(name="answer", ignore_result=True)
def answer(number: int, seconds: float) -> None:
    """Occupy a slot for the time of an answer."""
    redis.hset("began", number, time.time())
    time.sleep(seconds)
    redis.hset("ended", number, time.time())
