"""Heartbeats: one call renews the leases of all of a process's living jobs, from a thread that a busy hub cannot
starve."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from spool.claims import Claims
from spool.errors import SpoolError

log = logging.getLogger("spool.heartbeat")

INTERVAL_S = 0.4
"""Also how soon a silent job learns that it was cancelled, so well below a second; a lease is many of these."""

Held = tuple[str, str]
"""A job's id and the fence it is held under."""


class Heartbeat:
    """Beats for one process. ``held`` lists the jobs whose greenlet lives, ``free`` the slots; ``over`` is told of
    each job that is no longer ours. All three must be safe to call from this thread."""

    def __init__(
        self,
        claims: Claims,
        held: Callable[[], Sequence[Held]],
        free: Callable[[], int],
        over: Callable[[Held, str], None],
    ) -> None:
        self._claims = claims
        self._held = held
        self._free = free
        self._over = over
        self._stopped = False
        self.left = False
        """Whether it has stopped, and said so."""

    def run(self) -> None:
        """Beat until ``stop``; the body of a native thread."""
        failing = False
        while not self._stopped:
            try:
                self.beat()
                failing = False
            except SpoolError as exc:
                # Fencing keeps the log right meanwhile; the jobs go on, and their logs buffer.
                if not failing:
                    log.warning("heartbeat: %s", exc)
                failing = True
            except Exception:
                # All leases of the process hang on this thread: whatever it was must not end it.
                log.exception("heartbeat broke")
            time.sleep(INTERVAL_S)
        self._leave()

    def beat(self) -> None:
        """One beat."""
        held = list(self._held())
        for pair, answer in zip(held, self._claims.heartbeat(held, free=self._free()), strict=True):
            if answer in ("lost", "cancelled"):
                self._over(pair, answer)

    def stop(self) -> None:
        """Beat no more. The thread says on its way out that this worker takes nothing any more: its connection is
        its own, and must not be used from another thread."""
        self._stopped = True

    def _leave(self) -> None:
        try:
            self._claims.heartbeat([], free=-1)
        except SpoolError as exc:
            log.warning("leaving without saying so: %s", exc)
        self.left = True
