"""Jobs that wait in each way there is, so that Redis has every key of the queue, of holds and of limits."""

from __future__ import annotations

from dataclasses import replace

import orjson

from spool.jobs.closed_models import ClosedModels
from spool.jobs.job import Priority
from spool.jobs.scheduling import Scheduling
from spool.models.model import DEMO, Model
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, submit
from tests.damage.mutations import P

DEMO_WITH_RATES = replace(DEMO, rpm=6000, tpm=10**6)
CLOSED = Model(name="closed", backend="openai")
MODELS = (DEMO_WITH_RATES, CLOSED)
_LIMITS = {"carol": {"max_running": 1}, "dave": {"fairness_key_max_running": 1}, "erin": {"rpm": 20, "tpm": 10**6}}
"""One job of each of these owners runs, and the others wait."""


def add_waiting_jobs(link: RedisLink) -> None:
    """Flows that are parked by each limit, a batch job that runs, one before its time, and a model that is closed."""
    worker = HandWorker(link, name="limits")
    link.call("HSET", f"{P}limits", "owners", "digest")
    for owner, limits in _LIMITS.items():
        link.call("HSET", f"{P}owner-limits", owner, orjson.dumps(limits))
        for _ in range(3):
            submit(link, owner=owner, scheduling=Scheduling(fairness_key="k"))
    ended = worker.take(DEMO_WITH_RATES)
    while worker.claim(DEMO_WITH_RATES):
        pass
    for owner in ("frank", "grace"):
        submit(link, owner=owner, priority=Priority.BATCH)
    worker.take(DEMO_WITH_RATES)
    seconds, _micros = link.call("TIME")
    submit(link, scheduling=Scheduling(not_before=int(seconds) + 3600.0))
    _close(link, worker)
    worker.say(ended, "words")
    worker.finish(ended)
    while worker.claim(DEMO_WITH_RATES):
        pass
    submit(link, owner="frank", priority=Priority.BATCH)


def _close(link: RedisLink, worker: HandWorker) -> None:
    """Two jobs are refused; the second is tried again now."""
    closed = ClosedModels(worker.shards)
    for _ in range(2):
        submit(link, model=CLOSED.name, owner="heidi")
    for _ in range(2):
        claim = worker.take(CLOSED)
        closed.refuse(claim, "busy", status=429)
        worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
        link.call("HSET", f"{P}closed:{CLOSED.name}", "until_ms", 1)
    worker.take(CLOSED)
