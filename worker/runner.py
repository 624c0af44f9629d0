"""Runs the jobs that a worker process has claimed, each in a greenlet of its own, or hands them back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from gevent.event import Event
from gevent.greenlet import Greenlet

from spool.bell import Bell
from spool.errors import StoreUnavailable, UnknownModel
from spool.fail_points import reach
from spool.jobs.claims import Claim, Claims
from spool.models.model import Model
from spool.models.table import ModelTable
from worker.appender import Appender
from worker.attempt import Attempt
from worker.attempt_events import AttemptEvents
from worker.attempt_log import AttemptLog
from worker.backends import Backend, SharedGate
from worker.claiming import Claimer
from worker.coalescing import DueQueue
from worker.ownership import OwnedAttempts, Running
from worker.returned_files import ReturnedFiles

log = logging.getLogger("spool.worker")


class JobRunner:
    """Runs one claimed job for each call of ``run``. ``appenders`` are those of the shards, by number. ``bell`` is None
    in a quarantine process. Once ``draining`` is set, claimed jobs are handed back. ``gate_of`` returns the gate to
    which an attempt reports its upstream's answers. Without ``files``, an answer with a file fails."""

    def __init__(
        self,
        claims: Claims,
        claimer: Claimer,
        attempts: OwnedAttempts,
        *,
        models: ModelTable,
        backends: Mapping[str, Backend],
        appenders: Sequence[Appender],
        due: DueQueue,
        bell: Bell | None,
        draining: Event,
        max_output_bytes: int,
        gate_of: Callable[[Claim], SharedGate | None] = lambda _claim: None,
        files: ReturnedFiles | None = None,
    ) -> None:
        self._claims = claims
        self._claimer = claimer
        self._attempts = attempts
        self._models = models
        self._backends = backends
        self._appenders = appenders
        self._due = due
        self._bell = bell
        self._draining = draining
        self._max_output_bytes = max_output_bytes
        self._gate_of = gate_of
        self._files = files

    @property
    def waiting(self) -> int:
        """Number of running attempts that wait for their upstream."""
        return self._attempts.waiting

    def run(self, claim: Claim) -> None:
        """Run the job to its end, or until it is handed back."""
        if self._draining.is_set():
            # The claim was outstanding when the drain began.
            self._give_back(claim)
            return
        try:
            model = self._models.get(claim.job.model)
            backend = self._backends[model.backend]
        except (UnknownModel, KeyError) as exc:
            log.error("job %s: %s", claim.job.id, exc)
            self._attempts.give_up(claim)
            self._claims.hand_back(claim.job.id, claim.fence, counts=True, reason="model_unknown", message=str(exc))
            return
        if self._draining.is_set():
            # The drain began while the model was looked up.
            self._give_back(claim)
            return
        self._run_attempt(claim, model, backend)
        if self._draining.is_set():
            # Probably handed back: the bell spares other workers the wait for their next poll.
            self._ring(claim)

    def _run_attempt(self, claim: Claim, model: Model, backend: Backend) -> None:
        """Run an attempt in its own greenlet, so that an exception raised in it cannot hit the slot's next job."""
        attempt_log = AttemptLog(claim, self._appenders[claim.shard].changed, self._attempts)
        attempt = Attempt(
            claim,
            model,
            backend,
            attempt_log,
            self._claims,
            max_output_bytes=self._max_output_bytes,
            output=self._due.output(attempt_log),
            gate=self._gate_of(claim),
            files=self._files,
        )
        running = Running(attempt, Greenlet(attempt.run))
        self._attempts.begin(running)
        attempt.events.claimed()
        reach("claim.begun")
        running.greenlet.start()
        try:
            running.greenlet.join()
        finally:
            self._attempts.end(running)
            if model.max_running:
                self._claimer.make_room()

    def _give_back(self, claim: Claim) -> None:
        """Hand back a claimed job that was not started because this process is draining."""
        self._attempts.give_up(claim)
        try:
            answer = self._claims.hand_back(
                claim.job.id, claim.fence, counts=False, reason="handed_back", message="its worker was stopped"
            )
            AttemptEvents(claim).handed_back("handed_back", answer, "its worker was stopped")
        except StoreUnavailable as exc:
            # Its lease expires, and the keeper requeues it.
            log.warning("job %s not handed back: %s", claim.job.id, exc)
        self._ring(claim)

    def _ring(self, claim: Claim) -> None:
        if self._bell is not None:
            self._bell.ring(claim.job.id)
