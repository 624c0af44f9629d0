"""The appender: commits the logs of all attempts of a process, one per worker process and shard.

Group commit: the entries produced during one round trip to Redis go out in the next. Each commit is one call of one
script, which checks each job's fence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gevent.event import Event

from spool.errors import StoreUnavailable
from spool.fail_points import reach
from spool.jobs.scripts import script
from spool.jobs.shards import Shard
from spool.metrics import ONE_CALL_IN
from spool.outage import Outage
from worker.adaptive_delay import AdaptiveDelay
from worker.attempt_log import AttemptLog
from worker.metrics import APPENDS_REFUSED, COMMIT_LOGS
from worker.timer import PreciseTimer

log = logging.getLogger("spool.appender")

_COMMIT_ARGS = 8000
"""Approximate limit for the arguments of one call: it bounds a commit's size and its time in Redis."""
_COMMIT_BYTES = 2 * 1024 * 1024
_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Appender:
    """Commits the attempt logs of one shard. Its link is not shared, so that no commit waits behind another kind of
    call."""

    def __init__(self, shard: Shard, *, lease_s: float, sleep: Callable[[float], object]) -> None:
        self._shard = shard
        self._lease_ms = round(lease_s * 1000)
        # Read at start, so that the first job does not wait for it.
        self._script = script("append")
        self._sleep = sleep
        self._dirty: dict[AttemptLog, None] = {}
        self._has_dirty = Event()
        self._moderation = AdaptiveDelay()
        self._pacer = PreciseTimer()
        self._not_before = 0.0
        self._commits = 0

    def changed(self, attempt_log: AttemptLog) -> None:
        """Queue a log that has entries to commit."""
        if not self._dirty:
            self._has_dirty.set()
        self._dirty[attempt_log] = None

    def run(self) -> None:
        """Commit for ever. While Redis is away, entries wait in the logs, which bound them."""
        failures, outage = 0, Outage(log, "append", "entries wait in this process")
        while True:
            self._has_dirty.wait()
            self._pacer.wait_until(self._not_before)
            try:
                self._commit()
                if failures:
                    outage.worked()
                failures = 0
            except StoreUnavailable as exc:
                outage.failed(exc)
                self._sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1

    def _commit(self) -> None:
        logs, args = self._gather()
        if not logs:
            return
        now = time.monotonic()
        self._moderation.add(len(logs), now)
        # Slightly before the demo's timer may fire again, so that its tokens do not wait for another gap.
        self._not_before = now + 0.8 * self._moderation.gap_s
        reach("append.gathered")
        try:
            answers = self._shard.run(self._script, self._lease_ms, *args)
            reach("append.answered")
        except StoreUnavailable:
            for attempt_log in logs:
                self.changed(attempt_log)
            raise
        self._commits += 1
        if not self._commits % ONE_CALL_IN:
            COMMIT_LOGS.observe(len(logs))
        for attempt_log, answer in zip(logs, answers, strict=True):
            if isinstance(answer, bytes):
                APPENDS_REFUSED.labels(answer.partition(b" ")[0].decode()).inc()
            if isinstance(answer, bytes) and answer.startswith(b"error"):
                log.error("append to %s failed: %s", attempt_log.job_id, answer.decode(errors="replace"))
                attempt_log.over("lost")
            attempt_log.answered(answer)

    def _gather(self) -> tuple[list[AttemptLog], list[object]]:
        logs: list[AttemptLog] = []
        args: list[object] = []
        size = 0
        while self._dirty and len(args) < _COMMIT_ARGS and size < _COMMIT_BYTES:
            # Oldest first, so that one job that writes a lot cannot hold up the others.
            attempt_log = next(iter(self._dirty))
            del self._dirty[attempt_log]
            pending = attempt_log.pending()
            if pending is not None:
                logs.append(attempt_log)
                args.extend(pending)
                size += attempt_log.committing
        if not self._dirty:
            self._has_dirty.clear()
        return logs, args
