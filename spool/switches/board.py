"""The switches as one process knows them: read once a second, so that no request and no claim asks Redis."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from spool.errors import StoreUnavailable
from spool.switches.store import Known, SwitchStore
from spool.switches.switch import ALL, Kind, Switch, Transport

LOOK_S = 1.0

log = logging.getLogger("spool.switches")


class Board:
    """The known switches. While Redis does not answer, the last ones stay in force, and if it comes back without the
    last changes, they are restored. ``changed`` is called after each change."""

    def __init__(self, store: SwitchStore, changed: Callable[[], None] = lambda: None) -> None:
        self.store = store
        self._changed = changed
        self._known = Known()
        self._on: Mapping[str, Switch] = {}
        self._has_looked = False

    def look(self) -> None:
        """Read the switches. Raises ``StoreUnavailable``."""
        known = self.store.read()
        if known.changes < self._known.changes:
            if self.store.restore(self._known):
                names = ", ".join(switch.name for switch in self._known.on)
                log.error("Redis lost the last changes of the switches; restored: %s", names or "none is on")
            known = self.store.read()
        self._known, self._has_looked = known, True
        found = {switch.name: switch for switch in known.on}
        before, self._on = self._on, found
        if before == found:
            return
        for name in found.keys() - before.keys():
            log.warning("switch on: %s%s", name, found[name].because)
        for name in before.keys() - found.keys():
            log.warning("switch off: %s", name)
        self._changed()

    def look_if_new(self) -> None:
        """Read them unless they have been read before. Raises ``StoreUnavailable``."""
        if not self._has_looked:
            self.look()

    def look_or_leave(self) -> None:
        """Read them, and keep the last ones if Redis does not answer."""
        try:
            self.look()
        except StoreUnavailable:
            return

    def all(self) -> list[Switch]:
        """Those that are on, by name."""
        return list(self._on.values())

    def kinds(self) -> list[str]:
        """The kinds of those that are on, for readers that may not know models and owners."""
        return sorted({switch.kind.value for switch in self._on.values()})

    def stop_of(self, model: str, job_class: str, owner: str) -> Switch | None:
        """The switch that stops submits of such a job."""
        return self._first(Kind.STOP_SUBMITS, ALL, f"model:{model}", f"class:{job_class}", f"owner:{owner}")

    def stop_of_model(self, model: str) -> Switch | None:
        """The switch that stops all submits for this model."""
        return self._first(Kind.STOP_SUBMITS, ALL, f"model:{model}")

    def pause_of(self, model: str) -> Switch | None:
        """The switch that pauses this model's queue."""
        return self._first(Kind.PAUSE, ALL, f"model:{model}")

    def pauses(self, model: str) -> bool:
        """Whether this model's queue is paused."""
        return self.pause_of(model) is not None

    def drain_of(self, instance: str) -> Switch | None:
        """The switch that drains this instance."""
        return self._first(Kind.DRAIN, instance)

    def off(self, transport: Transport) -> Switch | None:
        """The switch that turns this transport off."""
        return self._first(Kind.TRANSPORT_OFF, transport.value)

    @property
    def max_streams(self) -> int | None:
        """The limit for the streams of a web process; None: that of its settings."""
        found = self._first(Kind.MAX_STREAMS, ALL)
        return found.value if found else None

    @property
    def notice(self) -> Switch | None:
        """The notice to all readers."""
        return self._first(Kind.NOTICE, ALL)

    def _first(self, kind: Kind, *targets: str) -> Switch | None:
        if not self._on:
            return None
        found = (self._on.get(f"{kind.value} {target}") for target in targets)
        return next((switch for switch in found if switch is not None), None)
