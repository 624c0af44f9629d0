"""Fault conditions around a process, by name: one log line at the begin and one at the end of each.

They are also the state for ``/readyz`` and ``/metrics``.

    redis_away             Redis does not answer, or refuses everything                              stops
    redis_unfit            Redis would lose data: it is too old, or it evicts jobs                   stops
    permission_missing     Redis's user may not run a command that Spool needs                       stops
    memory_over_watermark  Redis's memory use is above SPOOL_MEMORY_WATERMARK                        stops
    eviction_possible      Redis's policy may evict ended jobs before they expire
    persistence_off        Redis loses its data with its process
    persistence_failing    Redis cannot write its files
    no_live_worker         no worker is alive; jobs wait

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
UNHEARD = logging.Logger("spool.conditions.unheard")
"""For commands that show conditions themselves."""
UNHEARD.addHandler(logging.NullHandler())
_MESSAGES_LOGGED = 10
"""Limit for the log lines of one condition while it lasts, because its message may change often."""


@dataclass(slots=True)
class Condition:
    """A condition that lasts. ``message`` names the value and the remedy."""

    name: str
    message: str
    since: float
    logged: set[str] = field(default_factory=set)


class Conditions:
    """The conditions of one process. ``changed`` gets a name and whether it lasts; ``clock`` is monotonic; ``logger``
    gets the lines."""

    def __init__(
        self,
        changed: Callable[[str, bool], None] = lambda _name, _lasts: None,
        clock: Callable[[], float] = time.monotonic,
        *,
        logger: logging.Logger = log,
    ) -> None:
        self._log = logger
        self._changed = changed
        self._clock = clock
        self._lasting: dict[str, Condition] = {}

    def __iter__(self) -> Iterator[Condition]:
        return iter([self._lasting[name] for name in NAMES if name in self._lasting])

    def message(self, name: str) -> str | None:
        """The message of a condition, or None if it does not hold."""
        found = self._lasting.get(name)
        return None if found is None else found.message

    @property
    def stopping(self) -> Condition | None:
        """The first condition that stops the acceptance of jobs."""
        return next((one for one in self if one.name in STOPS), None)

    def set(self, name: str, message: str | None) -> None:
        """Set or update the condition ``name``; None as ``message`` ends it."""
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
            self._log.log(logging.ERROR if name in STOPS else logging.WARNING, "%s: %s", name, message)

    def _end(self, name: str) -> None:
        found = self._lasting.pop(name, None)
        if found is not None:
            self._log.warning("%s has ended after %.0f s", name, self._clock() - found.since)
            self._changed(name, False)

    def as_checks(self) -> dict[str, dict[str, object]]:
        """Every name with ``ok`` and, if that is false, ``message``: the format of ``/readyz``."""
        return {
            name: {"ok": True} if (text := self.message(name)) is None else {"ok": False, "message": text}
            for name in NAMES
        }
