"""Switches in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from spool.errors import SwitchNotFound, TooManySwitches
from spool.keys import HOME, prefix
from spool.redis.link import RedisLink
from spool.redis.pool import Command
from spool.switches.store import SWITCHES, SWITCHES_AT_MOST, SwitchStore
from spool.switches.switch import checked
from tests.clock import Clock
from tests.stack import Redis


def test_life_of_a_switch(link: RedisLink) -> None:
    """One that is turned on again keeps its time and gets the new reason; it is off once it is taken back."""
    clock = Clock()
    store = SwitchStore(link, clock)
    first = store.turn_on(checked("pause", "all"), by="root")
    clock.now += 10
    again = store.turn_on(checked("pause", "all", reason="still"), by="cli")
    assert (again.since_ms, again.reason, again.by) == (first.since_ms, "still", "cli")
    store.turn_on(checked("drain", "host/web:1"), by="cli")
    assert [switch.name for switch in store.all()] == ["drain host/web:1", "pause all"]
    store.turn_off(checked("pause", "all"))
    with pytest.raises(SwitchNotFound, match="pause all"):
        store.turn_off(checked("pause", "all"))
    assert [switch.name for switch in store.all()] == ["drain host/web:1"]


def test_switches_are_bounded(link: RedisLink) -> None:
    """Beyond the limit no new one is turned on, and those that are on can be changed."""
    pairs = [part for number in range(SWITCHES_AT_MOST) for part in (f"pause model:{number}", b"{}")]
    link.call("HSET", SWITCHES, *pairs)
    store = SwitchStore(link)
    with pytest.raises(TooManySwitches):
        store.turn_on(checked("pause", "all"), by="cli")
    link.call("HSET", SWITCHES, "pause model:0", checked("pause", "model:0").encode())
    assert store.turn_on(checked("pause", "model:0", reason="new"), by="cli").reason == "new"


def test_key_of_another_type_is_displaced(link: RedisLink) -> None:
    """It is kept under another name, no switch is on, and new ones can be turned on."""
    link.call("SET", SWITCHES, "not a hash")
    store = SwitchStore(link)
    assert store.all() == []
    assert link.call("GET", f"{prefix(HOME)}displaced:switches") == b"not a hash"
    store.turn_on(checked("pause", "all"), by="cli")
    assert [switch.name for switch in store.all()] == ["pause all"]


def test_switches_are_not_displaced_themselves(link: RedisLink, redis: Redis) -> None:
    """A process that saw a key of another type leaves the switches alone that another one has written since."""

    class Late(RedisLink):
        """A link whose first look is older than what the key is now."""

        def pipeline_each(self, commands: Sequence[Command]) -> list[Any]:
            """Answer as for a key of another type, and write switches after that."""
            before = super().pipeline_each(commands)
            if link.call("TYPE", SWITCHES) == b"string":
                link.call("DEL", SWITCHES)
                SwitchStore(link).turn_on(checked("pause", "all"), by="cli")
            return before

    link.call("SET", SWITCHES, "not a hash")
    with closing(Late(redis.url, connections=1)) as late:
        assert [switch.name for switch in SwitchStore(late).all()] == ["pause all"]
