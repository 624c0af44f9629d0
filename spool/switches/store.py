"""Switches in Redis, as command line and admin API turn them on and off."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from spool.errors import SwitchNotFound, TooManySwitches
from spool.keys import HOME, prefix
from spool.redis.errors import is_wrong_type, translated
from spool.redis.link import RedisLink
from spool.redis.script import Script
from spool.switches.switch import Switch, decoded

SWITCHES = f"{prefix(HOME)}switches"
SWITCHES_AT_MOST = 1000
_DISPLACED = f"{prefix(HOME)}displaced:switches"
_KEPT_MS = 7 * 86_400_000
_CHANGES = b"changes"
"""The field with the number of changes. It has no blank, so that versions before it leave it out."""


def _script(name: str) -> Script:
    return Script.of(name, (resources.files("spool.switches") / f"{name}.lua").read_text(encoding="utf-8"))


_DISPLACE = _script("displace")
_WRITE = _script("write_switch")
_RESTORE = _script("restore_switches")

log = logging.getLogger("spool.switches")


@dataclass(frozen=True, slots=True)
class Known:
    """The switches that are on, by name, after so many changes."""

    changes: int = 0
    on: tuple[Switch, ...] = ()


class SwitchStore:
    """The switches of an installation. Every call may raise ``StoreUnavailable``."""

    def __init__(self, link: RedisLink, clock: Callable[[], float] = time.time) -> None:
        self._link = link
        self._clock = clock

    def all(self) -> list[Switch]:
        """Those that are on, by name."""
        return list(self.read().on)

    def read(self) -> Known:
        """Those that are on, and the number of changes so far."""
        pairs = self._call("HGETALL", SWITCHES)
        counted = dict(zip(pairs[::2], pairs[1::2], strict=True)).get(_CHANGES, b"")
        changes = int(counted) if counted.isdigit() else 0
        return Known(changes, tuple(sorted(decoded(pairs), key=lambda switch: switch.name)))

    def restore(self, known: Known) -> bool:
        """Write the switches that a process knew, unless Redis has all those changes; whether it has written them."""
        pairs = [part for switch in known.on for part in (switch.name, switch.encode())]
        return bool(self._link.run(_RESTORE, HOME, known.changes, *pairs))

    def turn_on(self, switch: Switch, by: str) -> Switch:
        """Turn it on; one that is on already gets the new values and keeps its time. Raises ``TooManySwitches``."""
        earlier = next((each for each in self.all() if each.name == switch.name), None)
        on = replace(switch, since_ms=earlier.since_ms if earlier else int(self._clock() * 1000), by=by)
        if self._link.run(_WRITE, HOME, on.name, on.encode(), SWITCHES_AT_MOST) < 0:
            raise TooManySwitches(SWITCHES_AT_MOST)
        return on

    def turn_off(self, switch: Switch) -> None:
        """Take it back. Raises ``SwitchNotFound`` if it is not on."""
        self.read()  # displaces a key of another type
        if not self._link.run(_WRITE, HOME, switch.name, "", SWITCHES_AT_MOST):
            raise SwitchNotFound(switch.name)

    def _call(self, *command: str | bytes) -> Any:
        """Run a command on the hash. A key of another type in its place is displaced first, as one of an index is."""
        (reply,) = self._link.pipeline_each([command])
        if is_wrong_type(reply):
            if self._link.run(_DISPLACE, HOME, _KEPT_MS):
                log.error("%s was a key that Spool did not write; it is now %s for 7 days", SWITCHES, _DISPLACED)
            return self._link.call(*command)
        if isinstance(reply, Exception):
            raise translated(reply) from reply
        return reply
