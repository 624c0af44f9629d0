"""Heartbeats: renew the leases of a process's running jobs, from a thread that a busy hub cannot starve.

Jobs that append need no heartbeat. Each commit checks the fence and cancellation, renews the lease when due, and
reports missing entries.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

import gevent

from spool.errors import SpoolError
from spool.fail_points import reach
from spool.hub import from_threads
from spool.jobs.claims import Claims, Held
from spool.outage import Outage
from spool.repeated_errors import Breaks
from worker.watchdog import Watchdog, end_process

log = logging.getLogger("spool.heartbeat")

INTERVAL_S = 0.4
"""It also bounds how soon a silent job is cancelled, so it is well below a second. A lease spans many intervals."""


class Attempts(Protocol):
    """The attempts of the process; see ``worker.ownership.OwnedAttempts``. ``held`` and ``whole`` are called from the
    heartbeat's thread, the others in the hub."""

    def held(self, *, with_ended: bool, server: str) -> list[Held]: ...
    def whole(self, found: list[Held], server: str) -> None: ...
    def answered(self, held: Held, answer: bytes | int) -> None: ...
    def forget(self, before: float) -> None: ...


class Slots(Protocol):
    """The slots of the process; see ``worker.slots.Slots``."""

    @property
    def reported_free(self) -> int:
        """Slots that could take a job when the bell rings. Safe from the heartbeat's thread."""
        ...


class Quarantine(Protocol):
    """Runs jobs that wait in quarantine; see ``worker.quarantine.pool``."""

    def want(self, waiting: int) -> None: ...


class Heartbeat:
    """Sends heartbeats for one process. Create it in the hub's thread, where ``in_hub`` runs a function. ``quarantine``
    is told how many jobs wait for it; None in a quarantine process."""

    def __init__(
        self,
        claims: Claims,
        attempts: Attempts,
        slots: Slots,
        watchdog: Watchdog,
        quarantine: Quarantine | None = None,
        *,
        give_up: Callable[[str], None] = end_process,
        in_hub: Callable[..., object] | None = None,
    ) -> None:
        self._claims = claims
        self._attempts = attempts
        self._slots = slots
        self._watchdog = watchdog
        self._quarantine = quarantine
        self._give_up = give_up
        self._in_hub = in_hub or from_threads()
        self._server = ""
        """The run of Redis that answered last."""
        self._is_new_server = False
        """Redis was restarted: the next beat also reports attempts that ended just before."""
        self._stopped = False
        self.left = False
        """Whether it has stopped and has told Redis so."""

    def run(self) -> None:
        """Beat until ``stop``; the body of a native thread."""
        failing, outage, breaks = False, Outage(log, "heartbeat", "leases run out if it lasts"), Breaks("heartbeat")
        looked_at = time.monotonic()
        while not self._stopped:
            try:
                self.beat()
                failing = False
                outage.worked()
                breaks.look()
            except SpoolError as exc:
                # Fencing keeps the log correct meanwhile; the jobs continue, and their logs buffer.
                outage.failed(exc)
                failing = True
            except Exception as exc:  # noqa: BLE001
                # All leases of the process depend on this thread: no error may end it.
                breaks.broke(exc)
                failing = True
            # The cap ignores the time for which the whole process was suspended.
            passed_s = min(time.monotonic() - looked_at, 2 * INTERVAL_S)
            looked_at = time.monotonic()
            wrong = self._watchdog.look(passed_s, could_take=not failing and self._slots.reported_free > 0)
            if wrong is not None:
                self._give_up(wrong)
            if failing or not self._is_new_server:
                time.sleep(INTERVAL_S)
        self._leave()

    def beat(self) -> None:
        """Send one heartbeat and handle its answers."""
        began = time.monotonic()
        held = self._attempts.held(with_ended=self._is_new_server, server=self._server)
        reach("heartbeat.before")
        beat = self._claims.heartbeat(held, free=self._slots.reported_free, server=self._server)
        reach("heartbeat.answered")
        # Complete on the run of Redis that the beat was for, even if a newer run answered.
        self._attempts.whole([one for one, answer in beat.answers if answer == b"whole"], self._server)
        wrong = [(one, answer) for one, answer in beat.answers if answer not in (b"whole", b"ok", b"error")]
        if wrong or beat.apart:
            self._in_hub(self._answered, wrong, beat.apart)
        self._is_new_server = beat.server != self._server
        if self._is_new_server:
            if self._server:
                log.warning("Redis was restarted: checking that it has everything this worker wrote")
            self._server = beat.server
        else:
            # Redis had lost nothing at ``began``.
            self._in_hub(self._attempts.forget, began)

    def stop(self) -> None:
        """Stop the heartbeat. The thread itself tells Redis that this worker stops claiming, because its connection
        must not be used from another thread."""
        self._stopped = True

    def _answered(self, answers: list[tuple[Held, bytes | int]], apart: int) -> None:
        """Handle a beat's answers, in the hub; ``apart`` jobs wait in quarantine."""
        for held, answer in answers:
            self._attempts.answered(held, answer)
        if apart and self._quarantine is not None:
            # In a greenlet: nothing may block in the hub.
            gevent.spawn(self._quarantine.want, apart)

    def _leave(self) -> None:
        try:
            self._claims.heartbeat([], free=-1, server=self._server)
        except SpoolError as exc:
            log.warning("cannot unregister this worker: %s", exc)
        self.left = True
