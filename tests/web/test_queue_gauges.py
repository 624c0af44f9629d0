"""The gauges of the queue."""

from __future__ import annotations

from prometheus_client import REGISTRY

from spool.models.model import DEMO
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, shards_of, store_of, submit
from web.queue_gauges import QueueGauges


def value(name: str, **labels: str) -> float | None:
    """The value of a gauge."""
    return REGISTRY.get_sample_value(name, labels)


def test_gauges_follow_the_queue(link: RedisLink) -> None:
    """They show what waits and runs, why, and the slots of live workers; a queue that is empty again shows zeros."""
    gauges = QueueGauges(shards_of(link), store_of(link))
    worker = HandWorker(link)
    worker.beat(free=7)
    first = submit(link)
    gauges.look([DEMO])
    assert value("spool_queue_jobs", model="demo", state="queued") == 1
    assert value("spool_queue_oldest_reason", model="demo", priority="interactive", reason="turn") == 1
    assert (value("spool_workers"), value("spool_worker_slots", state="free")) == (1, 7)
    claim = worker.take_job(first.id)
    gauges.look([DEMO])
    assert value("spool_queue_jobs", model="demo", state="running") == 1
    worker.finish(claim)
    gauges.look([DEMO])
    for state in ("queued", "running"):
        assert value("spool_queue_jobs", model="demo", state=state) == 0
    assert value("spool_queue_oldest_seconds", model="demo", priority="interactive") == 0
    assert value("spool_queue_oldest_reason", model="demo", priority="interactive", reason="turn") == 0
    assert value("spool_model_closed", model="demo") == 0
    assert value("spool_jobs_lost_leases_total", model="demo") is not None
