"""Switches in Redis, as command line and admin API turn them on and off."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
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
_DISPLACE = Script.of("displace", (resources.files("spool.switches") / "displace.lua").read_text(encoding="utf-8"))

log = logging.getLogger("spool.switches")


class SwitchStore:
    """The switches of an installation. Every call may raise ``StoreUnavailable``."""

    def __init__(self, link: RedisLink, clock: Callable[[], float] = time.time) -> None:
        self._link = link
        self._clock = clock

    def all(self) -> list[Switch]:
        """Those that are on, by name."""
        return sorted(decoded(self._call("HGETALL", SWITCHES)), key=lambda switch: switch.name)

    def turn_on(self, switch: Switch, by: str) -> Switch:
        """Turn it on; one that is on already gets the new values and keeps its time. Raises ``TooManySwitches``."""
        earlier = next((each for each in self.all() if each.name == switch.name), None)
        if earlier is None and self._call("HLEN", SWITCHES) >= SWITCHES_AT_MOST:
            raise TooManySwitches(SWITCHES_AT_MOST)
        on = replace(switch, since_ms=earlier.since_ms if earlier else int(self._clock() * 1000), by=by)
        self._call("HSET", SWITCHES, on.name, on.encode())
        return on

    def turn_off(self, switch: Switch) -> None:
        """Take it back. Raises ``SwitchNotFound`` if it is not on."""
        if not self._call("HDEL", SWITCHES, switch.name):
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
