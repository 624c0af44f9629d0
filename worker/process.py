"""One worker process: its slots, and everything that runs beside the jobs."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

import gevent
from gevent.greenlet import Greenlet
from gevent.hub import get_hub
from gevent.threadpool import ThreadPool

from spool.background import spawn_forever
from spool.bell import Bell
from spool.claims import Claim, Claims, new_fence
from spool.errors import StoreUnavailable, UndecodableRecord, UnknownModel
from spool.keeper import Keeper
from spool.model_table import ModelTable
from spool.models import Model
from spool.redis_link import RedisLink
from spool.settings import WorkerSettings
from worker.appender import Appender
from worker.attempt_log import AttemptLog, AttemptOver
from worker.backends import Backend
from worker.heartbeat import Heartbeat, Held
from worker.runner import Attempt, HandBack

log = logging.getLogger("spool.worker")

_CLAIM_RETRY_S = 0.2
_LIMITS_S = 0.25
_PATROL_S = 1.0
_HAND_BACK_S = 6.0
_LEAVE_S = 2.0


class WorkerProcess:
    """What all jobs of this process share. One shard for now; the names carry it."""

    def __init__(self, settings: WorkerSettings, redis_url: str, bell: Bell, backends: Mapping[str, Backend]) -> None:
        self._settings = settings
        self._bell = bell
        self._backends = backends
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._link = RedisLink(redis_url, connections=8, name="spool-worker")
        self._appends = RedisLink(redis_url, connections=1, name="spool-appender")
        self._beats = RedisLink(redis_url, connections=1, name="spool-heartbeat")
        upstreams = [upstream.name for upstream in settings.upstreams()]
        self.models = ModelTable(self._link, settings.static_models(), upstreams, settings.default_model)
        self._claims = self._claims_on(self._link)
        self._appender = Appender(self._appends, shard=0, lease_s=settings.lease_s, sleep=gevent.sleep)
        self._heartbeat = Heartbeat(self._claims_on(self._beats), self._held, lambda: self.free, self._over_from_thread)
        self._running: dict[Held, tuple[Attempt, Greenlet[..., None]]] = {}
        self._taking = 0
        self._rung_at = time.monotonic()
        self._draining = False
        self._hub = get_hub()
        self._thread = ThreadPool(1)

    @property
    def free(self) -> int:
        """Slots that could take a job now."""
        if self._draining:
            return 0
        return max(0, self._settings.worker_concurrency - len(self._running) - self._taking)

    def start(self) -> None:
        """Begin everything that runs beside the jobs."""
        keeper = Keeper(
            self._link,
            self._bell.ring,
            shard=0,
            lease_s=self._settings.lease_s,
            max_attempts=self._settings.max_attempts,
        )
        self._bell.start()
        spawn_forever(self._appender.run)
        spawn_forever(self._check_limits)
        spawn_forever(self._patrol)
        spawn_forever(lambda: keeper.run(gevent.sleep, lambda: self._draining))
        self._thread.spawn(self._heartbeat.run)
        log.info("worker %s takes up to %d jobs at a time", self.name, self._settings.worker_concurrency)

    def bell(self) -> None:
        """The bell rang."""
        self._rung_at = time.monotonic()
        self.take_jobs()

    def take_jobs(self) -> None:
        """Claim and run one job after the other, until nothing is pending."""
        while self.free > 0:
            self._taking += 1
            try:
                claim = self._claim()
            finally:
                self._taking -= 1
            if claim is None:
                return
            self._run(claim)

    def drain(self) -> None:
        """Take nothing more; let running jobs finish for the drain time, then hand them back."""
        self._draining = True
        deadline = time.monotonic() + self._settings.worker_drain_s
        while (self._running or self._taking) and time.monotonic() < deadline:
            gevent.sleep(0.05)
        running = [greenlet for _attempt, greenlet in self._running.values()]
        if running:
            log.info("handing back %d jobs", len(running))
        gevent.killall(running, HandBack, timeout=_HAND_BACK_S)
        self._heartbeat.stop()
        deadline = time.monotonic() + _LEAVE_S
        while not self._heartbeat.left and time.monotonic() < deadline:
            gevent.sleep(0.02)
        # gevent would wait 5 s for an idle thread of its pool before the process ends.
        self._thread.kill()

    def _patrol(self) -> None:
        """Look for jobs while no bell rings: the broker may be away, or backing off, and the jobs are not in it."""
        while not self._draining:
            gevent.sleep(_PATROL_S)
            while self.free > 0 and time.monotonic() - self._rung_at > _PATROL_S:
                claim = self._claim()
                if claim is None:
                    break
                gevent.spawn(self._run_and_go_on, claim)

    def _run_and_go_on(self, claim: Claim) -> None:
        self._run(claim)
        self.take_jobs()

    def _claims_on(self, link: RedisLink) -> Claims:
        return Claims(
            link,
            shard=0,
            worker=self.name,
            lease_s=self._settings.lease_s,
            max_attempts=self._settings.max_attempts,
        )

    def _claim(self) -> Claim | None:
        """The next job. After a lost answer the same fence is asked again, so that no job hangs on an answer."""
        fence, deadline = new_fence(), time.monotonic() + self._settings.lease_s
        while not self._draining:
            try:
                return self._claims.claim(self._served(), fence)
            except StoreUnavailable as exc:
                if time.monotonic() >= deadline:
                    log.warning("no claim: %s", exc)
                    return None
                gevent.sleep(_CLAIM_RETRY_S)
            except UndecodableRecord:
                log.exception("a claimed job cannot be read; its lease runs out")
                return None
        return None

    def _served(self) -> list[Model]:
        return [model for model in self.models.all() if model.backend in self._backends]

    def _run(self, claim: Claim) -> None:
        """Run the job in a greenlet of its own: what is thrown into it cannot hit the next job of this slot."""
        try:
            model = self.models.get(claim.job.model)
            backend = self._backends[model.backend]
        except (UnknownModel, KeyError) as exc:
            log.error("job %s: %s", claim.job.id, exc)
            self._claims.hand_back(claim.job.id, claim.fence, counts=True, reason="model_unknown", message=str(exc))
            return
        attempt_log = AttemptLog(claim, self._appender.changed)
        attempt = Attempt(
            claim,
            model,
            backend,
            attempt_log,
            self._claims,
            max_output_bytes=self._settings.max_output_bytes,
        )
        held = (claim.job.id, claim.fence)
        greenlet = Greenlet(attempt.run)
        attempt_log.on_over = lambda outcome: greenlet.kill(AttemptOver(outcome), block=False)
        self._running[held] = (attempt, greenlet)
        greenlet.start()
        try:
            greenlet.join()
        finally:
            del self._running[held]

    def _held(self) -> list[Held]:
        # Read by the heartbeat's thread while the hub adds and removes, so over a copy.
        return [held for held, (_attempt, greenlet) in list(self._running.items()) if not greenlet.dead]

    def _over_from_thread(self, held: Held, outcome: str) -> None:
        self._hub.loop.run_callback_threadsafe(self._over, held, outcome)

    def _over(self, held: Held, outcome: str) -> None:
        if held in self._running:
            self._running[held][0].log.over(outcome)

    def _check_limits(self) -> None:
        while True:
            gevent.sleep(_LIMITS_S)
            now = time.monotonic()
            for attempt, greenlet in list(self._running.values()):
                passed = attempt.stopwatch.passed(now)
                if (
                    passed is not None
                    and attempt.log.outcome is None
                    and not (attempt.log.ending or attempt.log.blocked)
                ):
                    greenlet.kill(passed, block=False)
