"""One worker process: its slots, and the background work beside its jobs."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import gevent
from gevent.greenlet import Greenlet
from gevent.threadpool import ThreadPool

from spool.background import spawn_forever
from spool.bell import Bell
from spool.conditions import Conditions
from spool.deadline import Deadline
from spool.errors import StoreUnavailable, UnknownModel
from spool.fail_points import reach
from spool.jobs.claims import Claim, Claims, Wanted
from spool.jobs.keeper import Keeper
from spool.jobs.shards import Shard, Shards
from spool.models.model import Model
from spool.models.table import ModelTable
from spool.redis.link import RedisLink
from spool.redis.server_check import FitnessCheck
from spool.settings import WorkerSettings
from worker.appender import Appender
from worker.attempt import Attempt, HandBack
from worker.attempt_log import AttemptLog, AttemptOver
from worker.backends import Backend
from worker.claiming import Claimer
from worker.coalescing import DueQueue
from worker.heartbeat import Heartbeat
from worker.hub_side import HubSide
from worker.ownership import OwnedAttempts, Running
from worker.watchdog import Watchdog

log = logging.getLogger("spool.worker")

_LIMITS_S = 0.25
_PATROL_S = 1.0
_HAND_BACK_S = 6.0
_LEAVE_S = 2.0
_MOMENT_S = 0.01


class WorkerProcess:
    """The state that all jobs of this process share.

    ``bell`` is None in a quarantine process (``worker.quarantine``): it claims quarantined jobs only, and no bell rings
    for it. ``on_apart`` receives the number of jobs that wait in quarantine.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        bell: Bell | None,
        backends: Mapping[str, Backend],
        on_apart: Callable[[int], None] = lambda _waiting: None,
    ) -> None:
        self._settings = settings
        self._bell = bell
        self._backends = backends
        self._on_apart = on_apart
        self._concurrency = settings.worker_concurrency if bell is not None else 1
        # The random part: a restarted container has the same host name and process id as before.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        redis_url = settings.redis_url.get_secret_value()
        self._link = RedisLink(redis_url, connections=8, name="spool-worker")
        self._shards = Shards.on(self._link, settings.shards)
        beats = RedisLink(redis_url, connections=1, name="spool-heartbeat")
        upstreams = [upstream.name for upstream in settings.upstreams()]
        self.models = ModelTable(self._link, settings.static_models(), upstreams, settings.default_model)
        self._claims = self._claims_on(self._shards)
        self._appenders = [
            Appender(
                Shard(number, RedisLink(redis_url, connections=1, name="spool-appender")),
                lease_s=settings.lease_s,
                sleep=gevent.sleep,
            )
            for number in range(settings.shards)
        ]
        self._due = DueQueue()
        self._jobs = OwnedAttempts(self._claims, lambda changed: self._appenders[changed.claim.shard].changed(changed))
        self._watchdog = Watchdog()
        hub_side = HubSide(self._jobs, lambda: self.free if self._bell is not None else 0, self._notify_quarantine)
        self._heartbeat = Heartbeat(self._claims_on(Shards.on(beats, settings.shards)), hub_side, self._watchdog)
        self._claimer = Claimer(
            self._claims,
            self._served,
            self._watchdog.asked,
            self._give_back,
            lease_s=settings.lease_s,
            sleep=gevent.sleep,
        )
        self._fitness = FitnessCheck(self._link, Conditions(), shards=len(self._shards))
        self._thread = ThreadPool(1)

    def start(self) -> None:
        """Start the background work."""
        for appender in self._appenders:
            spawn_forever(appender.run)
        spawn_forever(self._due.run)
        spawn_forever(self._check_limits)
        if self._bell is not None:
            self._bell.start()
            spawn_forever(self._patrol)
            for shard in self._shards:
                keeper = Keeper(
                    shard,
                    self._bell.ring,
                    lease_s=self._settings.lease_s,
                    max_attempts=self._settings.max_attempts,
                )
                spawn_forever(partial(keeper.run, gevent.sleep, lambda: self.draining))
        self._thread.spawn(self._heartbeat.run)
        log.info("worker %s runs up to %d jobs at a time", self.name, self._concurrency)

    def bell(self) -> None:
        """Handle a bell: claim and run jobs."""
        reach("bell.heard")
        self._claimer.rung()
        self.take_jobs()

    def take_jobs(self) -> None:
        """Claim and run one job after the other, until nothing is pending."""
        while self.free > 0 and not self._claimer.has_just_looked and self.take_one("any"):
            pass

    def take_one(self, wanted: Wanted) -> bool:
        """Claim a job and run it to its end. False if there is none."""
        claim = self._claimer.take(wanted)
        if claim is not None:
            self._run(claim)
        return claim is not None

    def take_nothing(self) -> None:
        """Claim nothing from now on."""
        self._claimer.stopped = True

    def drain(self) -> None:
        """Stop claiming, wait up to the drain time for running jobs, then hand back the rest."""
        self.take_nothing()
        deadline = time.monotonic() + self._settings.worker_drain_s
        while (self._jobs.running or self._claimer.going_on) and time.monotonic() < deadline:
            gevent.sleep(0.05)
        self._hand_all_back()
        self._heartbeat.stop()
        deadline = time.monotonic() + _LEAVE_S
        while not self._heartbeat.left and time.monotonic() < deadline:
            gevent.sleep(0.02)
        # gevent would wait 5 s for an idle thread of its pool before the process ends.
        self._thread.kill()

    def _hand_all_back(self) -> None:
        """Hand back the running jobs and those that outstanding claims bring."""
        # A greenlet that is killed before its first switch never runs, so it would not hand its job back.
        gevent.sleep(0)
        left = Deadline.after(_HAND_BACK_S)
        running = [one.greenlet for one in self._jobs.running.values()]
        if running:
            log.info("handing back %d jobs", len(running))
        with suppress(gevent.Timeout):
            gevent.killall(running, HandBack, timeout=left.left_s)
        while self._claimer.going_on and not left.passed:
            gevent.sleep(_MOMENT_S)

    # Slots.

    @property
    def draining(self) -> bool:
        """Whether this process has stopped claiming."""
        return self._claimer.stopped

    @property
    def free(self) -> int:
        """Slots that could run another job now."""
        return max(0, self._room(self._concurrency))

    @property
    def is_quiet(self) -> bool:
        """Whether no job runs."""
        return not self._jobs.running

    def _has_reserve(self) -> bool:
        """Whether there is room beyond the slots for retries, which must not wait behind jobs that may take an hour.
        The reserve equals the number of slots, so that half of the workers can replace the other half."""
        return self._room(2 * self._concurrency) > 0

    def _room(self, capacity: int) -> int:
        return (
            0
            if self.draining or not self._fitness.is_fit
            else capacity - len(self._jobs.running) - self._claimer.going_on
        )

    def _patrol(self) -> None:
        """Poll for jobs while no bell rings: the broker may be away or backing off, and it does not hold the jobs.
        Poll for retries while all slots are in use, when bells are ignored."""
        while not self.draining:
            # Repeatedly: the server may be reconfigured or replaced at any time.
            self._fitness.look()
            gevent.sleep(_PATROL_S)
            while self.free > 0 and time.monotonic() - self._claimer.rung_at > _PATROL_S and self._patrol_for("any"):
                pass
            while self.free == 0 and self._has_reserve() and self._patrol_for("retries"):
                pass

    def _patrol_for(self, wanted: Wanted) -> bool:
        claim = self._claimer.take(wanted)
        if claim is not None:
            gevent.spawn(self._run_then_claim, claim)
        return claim is not None

    def _run_then_claim(self, claim: Claim) -> None:
        self._run(claim)
        self.take_jobs()

    # One job.

    def _claims_on(self, shards: Shards) -> Claims:
        return Claims(
            shards,
            worker=self.name,
            lease_s=self._settings.lease_s,
            max_attempts=self._settings.max_attempts,
            slots=self._concurrency if self._bell is not None else 0,
        )

    def _served(self) -> list[Model]:
        return [model for model in self.models.all() if model.backend in self._backends]

    def _give_back(self, claim: Claim) -> None:
        """Hand back a claimed job that was not started because this process is draining."""
        self._jobs.give_up(claim)
        try:
            answer = self._claims.hand_back(
                claim.job.id, claim.fence, counts=False, reason="handed_back", message="its worker was stopped"
            )
            log.info("job %s handed back: %s", claim.job.id, answer)
        except StoreUnavailable as exc:
            # Its lease expires, and the keeper requeues it.
            log.warning("job %s not handed back: %s", claim.job.id, exc)
        if self._bell is not None:
            self._bell.ring(claim.job.id)

    def _run(self, claim: Claim) -> None:
        """Run the job in its own greenlet, so that an exception raised in it cannot hit the slot's next job."""
        try:
            model = self.models.get(claim.job.model)
            backend = self._backends[model.backend]
        except (UnknownModel, KeyError) as exc:
            log.error("job %s: %s", claim.job.id, exc)
            self._jobs.give_up(claim)
            self._claims.hand_back(claim.job.id, claim.fence, counts=True, reason="model_unknown", message=str(exc))
            return
        if self.draining:
            # The drain began while the model was looked up.
            self._give_back(claim)
            return
        attempt_log = AttemptLog(claim, self._appenders[claim.shard].changed)
        attempt = Attempt(
            claim,
            model,
            backend,
            attempt_log,
            self._claims,
            max_output_bytes=self._settings.max_output_bytes,
            output=self._due.output(attempt_log),
        )
        greenlet = Greenlet(attempt.run)
        attempt_log.on_over = lambda outcome: greenlet.kill(AttemptOver(outcome), block=False)
        running = Running(attempt, greenlet)
        self._jobs.begin(running)
        reach("claim.begun")
        greenlet.start()
        try:
            greenlet.join()
        finally:
            self._jobs.end(running)
            if model.max_running:
                self._claimer.make_room()
        if self.draining and self._bell is not None:
            # Probably handed back: the bell spares other workers the wait for their next poll.
            self._bell.ring(claim.job.id)

    def _notify_quarantine(self, waiting: int) -> None:
        if not self.draining:
            self._on_apart(waiting)

    def _check_limits(self) -> None:
        while True:
            gevent.sleep(_LIMITS_S)
            self._watchdog.ticked()
            self._jobs.check_limits(time.monotonic())
