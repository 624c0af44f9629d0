"""What is wrong around a process now, by name: one line in the log when it begins, one when it ends, and the state for
``/readyz`` and ``/metrics``.

    redis_away             Redis does not answer, or refuses everything                              stops
    redis_unfit            it would not keep what it is given: too old, or it evicts jobs            stops
    permission_missing     its user may not run a command that Spool needs                           stops
    memory_over_watermark  its memory is used beyond SPOOL_MEMORY_WATERMARK                          stops
    eviction_possible      its policy may throw away jobs that have ended, before they expire
    persistence_off        what it holds is gone with its process
    persistence_failing    it cannot write its files
    no_live_worker         nothing runs jobs; they wait

``stops``: no job is accepted while it lasts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

log = logging.getLogger("spool.conditions")

STOPS = frozenset({"redis_away", "redis_unfit", "permission_missing", "memory_over_watermark"})
NAMES = (
    *("redis_away", "redis_unfit", "permission_missing", "memory_over_watermark"),
    *("eviction_possible", "persistence_off", "persistence_failing", "no_live_worker"),
)
_MESSAGES_LOGGED = 10
"""Of one condition while it lasts: its words may change, and must not fill a log."""


@dataclass(slots=True)
class Condition:
    """One that lasts. ``message`` says with which value, and what to do."""

    name: str
    message: str
    since: float
    logged: set[str] = field(default_factory=set)


class Conditions:
    """Those of one process. ``changed`` gets a name and whether it lasts; ``clock`` is monotonic."""

    def __init__(
        self,
        changed: Callable[[str, bool], None] = lambda _name, _lasts: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changed = changed
        self._clock = clock
        self._lasting: dict[str, Condition] = {}

    def __iter__(self) -> Iterator[Condition]:
        return iter([self._lasting[name] for name in NAMES if name in self._lasting])

    def message(self, name: str) -> str | None:
        """What is wrong, in words; None where it is not."""
        found = self._lasting.get(name)
        return None if found is None else found.message

    @property
    def stopping(self) -> Condition | None:
        """The first one for which no job is accepted."""
        return next((one for one in self if one.name in STOPS), None)

    def set(self, name: str, message: str | None) -> None:
        """``message`` is what is wrong now; None: nothing of this name."""
        if message is None:
            self._end(name)
            return
        found = self._lasting.get(name)
        if found is None:
            found = self._lasting[name] = Condition(name, message, self._clock())
            self._changed(name, True)
        found.message = message
        if message not in found.logged and len(found.logged) < _MESSAGES_LOGGED:
            found.logged.add(message)
            log.log(logging.ERROR if name in STOPS else logging.WARNING, "%s: %s", name, message)

    def _end(self, name: str) -> None:
        found = self._lasting.pop(name, None)
        if found is not None:
            log.warning("%s has ended after %.0f s", name, self._clock() - found.since)
            self._changed(name, False)

    def as_checks(self) -> dict[str, dict[str, object]]:
        """Every name with ``ok`` and, where it is not, ``message``: the form of ``/readyz``."""
        return {
            name: {"ok": True} if (text := self.message(name)) is None else {"ok": False, "message": text}
            for name in NAMES
        }
