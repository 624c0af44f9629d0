"""The Prometheus gauges of the queue, which are the same on every web: what waits, for how long, and why.

Each process looks every two seconds, and a scrape asks Redis nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import Gauge

from spool.errors import StoreUnavailable
from spool.jobs.job import Priority
from spool.jobs.queue_facts import QueueFacts
from spool.jobs.queue_figures import QueueFigures, read_figures
from spool.jobs.shards import Shard
from spool.jobs.store import JobStore
from spool.keys import HOME
from spool.metrics import count_from_zero
from spool.models.model import Model

JOBS = Gauge("spool_queue_jobs", "Jobs that wait or run", ["model", "state"], multiprocess_mode="livemostrecent")
OLDEST = Gauge(
    "spool_queue_oldest_seconds",
    "Age of the job that waits longest; 0: none waits",
    ["model", "priority"],
    multiprocess_mode="livemostrecent",
)
REASON = Gauge(
    "spool_queue_oldest_reason",
    "1 for what that job waits for",
    ["model", "priority", "reason"],
    multiprocess_mode="livemostrecent",
)
WORKERS = Gauge("spool_workers", "Live worker processes", multiprocess_mode="livemostrecent")
SLOTS = Gauge("spool_worker_slots", "Slots of live workers", ["state"], multiprocess_mode="livemostrecent")
HELD = Gauge("spool_queue_scheduled", "Jobs before their not_before", multiprocess_mode="livemostrecent")
CLOSED = Gauge("spool_model_closed", "1 while its upstream refuses jobs", ["model"], multiprocess_mode="livemostrecent")
MEMORY = Gauge("spool_redis_memory_bytes", "Memory of Redis", ["what"], multiprocess_mode="livemostrecent")
_REASONS_AT_MOST = 20
_UNASKED = QueueFacts(0.0, 0, 0, 0)


class QueueGauges:
    """The gauges of one process."""

    def __init__(self, shards: Iterable[Shard], store: JobStore) -> None:
        self._shards = list(shards)
        self._store = store
        self._shown: set[str] = set()
        self._reasons: set[tuple[str, str, str]] = set()

    def look(self, models: Iterable[Model]) -> None:
        """Set the gauges. ``models`` have them even without jobs. Raises ``StoreUnavailable``."""
        figures = [one for shard in self._shards for one in read_figures(shard)]
        self._shown |= {model.name for model in models} | {one.model for one in figures}
        count_from_zero(self._shown)
        self._show_jobs(figures)
        self._show_reasons(figures)
        self._show_server()

    def _show_jobs(self, figures: list[QueueFigures]) -> None:
        for model in self._shown:
            own = [one for one in figures if one.model == model]
            JOBS.labels(model, "queued").set(sum(one.waiting for one in own))
            JOBS.labels(model, "running").set(sum(one.running for one in own))
            for priority in Priority:
                ages = [one.oldest[priority][1] for one in own if priority in one.oldest]
                OLDEST.labels(model, priority).set(max(ages, default=0))

    def _show_reasons(self, figures: list[QueueFigures]) -> None:
        found = set()
        for one in figures[:_REASONS_AT_MOST]:
            for priority, (job_id, _age) in one.oldest.items():
                _facts, places = self._store.look_queue(one.model, [job_id], facts=_UNASKED)
                found |= {(one.model, str(priority), str(place.reason)) for place in places.values()}
        for gone in self._reasons - found:
            REASON.labels(*gone).set(0)
        for one_found in found:
            REASON.labels(*one_found).set(1)
        self._reasons |= found

    def _show_server(self) -> None:
        scheduled, closed, slots = 0, set[str](), Counter[str]()
        for shard in self._shards:
            keys = [shard.key(name) for name in ("scheduled", "closed-models", "memory")]
            held, names, memory = shard.link.pipeline(
                [("ZCARD", keys[0]), ("SMEMBERS", keys[1]), ("HMGET", keys[2], "used", "max")]
            )
            scheduled += held
            closed |= {name.decode() for name in names}
            if shard.number == HOME:
                for what, value in zip(("used", "max"), memory, strict=True):
                    MEMORY.labels(what).set(float(value or 0))
                slots = _slots_of(shard)
        HELD.set(scheduled)
        for model in self._shown:
            CLOSED.labels(model).set(model in closed)
        WORKERS.set(slots["workers"])
        for state in ("free", "all"):
            SLOTS.labels(state).set(slots[state])


def _slots_of(shard: Shard) -> Counter[str]:
    """The live workers and their slots, of a shard to which all workers report."""
    keys = [shard.key(name) for name in ("workers", "slots", "capacity")]
    (seconds, micros), until, free, capacity = shard.link.pipeline(
        [("TIME",), ("ZRANGE", keys[0], 0, -1, "WITHSCORES"), ("HGETALL", keys[1]), ("HGETALL", keys[2])]
    )
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    alive = {name for name, score in zip(until[::2], until[1::2], strict=True) if float(score) > now_ms}
    counted = Counter({"workers": len(alive)})
    for state, values in (("free", free), ("all", capacity)):
        pairs = dict(zip(values[::2], values[1::2], strict=True))
        counted[state] = sum(int(value) for name, value in pairs.items() if name in alive)
    return counted


def look_or_leave(gauges: QueueGauges, models: Iterable[Model]) -> None:
    """Set the gauges; without Redis they stay as they are."""
    try:
        gauges.look(models)
    except StoreUnavailable:
        return
