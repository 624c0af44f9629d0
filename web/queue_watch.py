"""The queue watch: what jobs wait for, looked up for all readers of a process together.

A model's queue is looked at once in two seconds, however many streams, polls and submits ask. A stream is told a wait
when it has changed, by the follower's way of waking readers, so that it has no greenlet of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import gevent

from spool.errors import StoreUnavailable
from spool.following.feed import Feed
from spool.ids import shard_of
from spool.jobs.job import Job, Status
from spool.jobs.queue_facts import QueueFacts
from spool.jobs.waits import Place, Wait, place_of, wait_of
from web.time_slices import in_slices

log = logging.getLogger("spool.web")

LOOK_S = 2.0
PATIENCE_S = 1.0
"""A job that begins within this time shows nothing: most do, and clients are spared the message."""
_IDS = 100
"""Jobs in one call. Redis does nothing else during the call, so tokens wait for it."""
_KNOWN_AT_MOST = 10_000
_WOKEN_AT_ONCE = 250


class Queues(Protocol):
    """The store, as the watch asks it."""

    def look_queue(
        self, model: str, job_ids: Sequence[str], *, facts: QueueFacts | None = None
    ) -> tuple[QueueFacts, dict[str, Place]]:
        """The facts of a model's queue, unless they are known, and the places of the queued ones of these jobs."""
        ...


class QueueWatch:
    """The waits of one process. ``feeds`` are the logs with readers whose jobs are queued; ``limit_of`` is a model's
    limit of running jobs, 0 for none; ``is_paused``: whether an operator has paused a model's queue."""

    def __init__(
        self,
        store: Queues,
        feeds: Callable[[], Iterable[Feed]],
        limit_of: Callable[[str], int],
        *,
        is_paused: Callable[[str], bool] = lambda _model: False,
        clock: Callable[[], float] = time.monotonic,
        spawn: Callable[[Callable[[], None]], Any] = gevent.spawn,
    ) -> None:
        self._store = store
        self._feeds = feeds
        self._limit_of = limit_of
        self._is_paused = is_paused
        self._clock = clock
        self._spawn = spawn
        self._facts: dict[tuple[str, int], tuple[float, QueueFacts]] = {}
        self._known: dict[str, tuple[float, Wait | None]] = {}
        self._looked_at: dict[str, float] = {}
        self._is_looking = False
        self._seen: dict[Feed, float] = {}

    def of(self, job: Job) -> Wait | None:
        """The wait of a queued job, at most two seconds old. None if it is not queued, or Redis does not answer."""
        if job.status is not Status.QUEUED:
            return None
        known = self._known.get(job.id)
        if known is None or self._clock() >= known[0] + LOOK_S:
            try:
                return self._look_at(job.model, [job.id])[1].get(job.id)
            except StoreUnavailable:
                return None
        return known[1]

    def of_new(self, job: Job) -> Wait | None:
        """The wait of a job as its submit has answered it, with the last facts of its queue."""
        facts = self._known_facts(job.model, shard_of(job.id))
        if job.status is not Status.QUEUED or facts is None:
            return self.of(job)
        return wait_of(facts, place_of(job, facts), self._limit_of(job.model), is_paused=self._is_paused(job.model))

    def tick(self, now: float) -> None:
        """Look at the queues that are due, in a greenlet. It does not block."""
        self._known = {job_id: known for job_id, known in self._known.items() if now < known[0] + LOOK_S}
        self._facts = {queue: facts for queue, facts in self._facts.items() if now < facts[0] + LOOK_S}
        if self._is_looking:
            return
        due: dict[tuple[str, int], list[Feed]] = {}
        self._seen = {feed: self._seen.get(feed, now) for feed in self._feeds()}
        for feed, since in self._seen.items():
            if now >= since + PATIENCE_S and now >= self._looked_at.get(feed.model, float("-inf")) + LOOK_S:
                due.setdefault((feed.model, shard_of(feed.job_id)), []).append(feed)
        self._looked_at = {model: at for model, at in self._looked_at.items() if now < at + LOOK_S}
        if due:
            self._looked_at |= dict.fromkeys((model for model, _shard in due), now)
            self._is_looking = True
            self._spawn(lambda: self._look_for(due))

    def _look_for(self, due: dict[tuple[str, int], list[Feed]]) -> None:
        try:
            for (model, _shard), feeds in due.items():
                for start in range(0, len(feeds), _IDS):
                    self._tell(model, feeds[start : start + _IDS])
        except StoreUnavailable:
            # The streams end by themselves if Redis stays away.
            pass
        except Exception:
            # The greenlet's boundary: the next tick looks again.
            log.exception("cannot look at the queue")
        finally:
            self._is_looking = False

    def _tell(self, model: str, feeds: list[Feed]) -> None:
        facts, waits = self._look_at(model, [feed.job_id for feed in feeds])
        woken = 0
        for feed in feeds:
            wait = waits.get(feed.job_id)
            if wait is None:
                # It has begun; its first entry is on the way.
                feed.queued_at = -1
            elif feed.is_queued and wait.differs(feed.wait, facts.at):
                feed.wait = wait
                feed.wake()
                woken += len(feed.readers)
            if woken >= _WOKEN_AT_ONCE:
                gevent.sleep(0)
                woken = 0

    def _known_facts(self, model: str, shard: int) -> QueueFacts | None:
        known = self._facts.get((model, shard))
        return known[1] if known is not None and self._clock() < known[0] + LOOK_S else None

    def _look_at(self, model: str, job_ids: list[str]) -> tuple[QueueFacts, dict[str, Wait]]:
        """The facts, and the waits of the queued ones of these jobs of one shard. Raises ``StoreUnavailable``."""
        shard, limit = shard_of(job_ids[0]), self._limit_of(model)
        known = self._known_facts(model, shard)
        facts, places = self._store.look_queue(model, job_ids, facts=known)
        now = self._clock()
        if known is None:
            self._facts[model, shard] = now, facts
        is_paused = self._is_paused(model)
        waits = {
            job_id: wait_of(facts, place, limit, is_paused=is_paused) for job_id, place in in_slices(places.items())
        }
        if len(self._known) > _KNOWN_AT_MOST:
            self._known.clear()
        self._known |= {job_id: (now, waits.get(job_id)) for job_id in job_ids}
        return facts, waits
