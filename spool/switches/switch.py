"""A switch, its kinds, and its form in Redis.

    stop-submits    all, model:NAME, class:CLASS, owner:NAME    no such job is accepted
    pause           all, model:NAME     no such job begins; running ones go on
    drain           INSTANCE            a web ends its streams and is not ready; a worker claims nothing
    transport-off   sse, ndjson, text, websocket, long-polling  nothing begins over it
    max-streams     all                 limit for the streams of each web process; ``value`` is the number
    notice          all                 ``reason`` is shown to every reader

A target is one of those listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from spool.access.caller import is_owner
from spool.errors import UndecodableRecord, WrongSwitch

REASON_CHARACTERS = 500
_TARGET_CHARACTERS = 220
_STREAMS_AT_MOST = 100_000
_INSTANCE = re.compile(r"[A-Za-z0-9._:/-]{1,200}")


class Kind(StrEnum):
    """What a switch does."""

    STOP_SUBMITS = "stop-submits"
    PAUSE = "pause"
    DRAIN = "drain"
    TRANSPORT_OFF = "transport-off"
    MAX_STREAMS = "max-streams"
    NOTICE = "notice"


class Transport(StrEnum):
    """A transport that can be turned off. Short polling cannot: it is the one that always remains."""

    SSE = "sse"
    NDJSON = "ndjson"
    TEXT = "text"
    WEBSOCKET = "websocket"
    LONG_POLLING = "long-polling"


ALL = "all"
_CLASSES = ("interactive", "batch")


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch that is on. ``since_ms``: since when; ``by``: the owner, or ``cli``, that turned it on. ``value`` is the
    number of ``max-streams``."""

    kind: Kind
    target: str
    reason: str = ""
    value: int | None = None
    since_ms: int = 0
    by: str = ""

    @property
    def name(self) -> str:
        """Its name, which is its field in Redis."""
        return f"{self.kind.value} {self.target}"

    @property
    def stops_all(self) -> bool:
        """Whether no job is accepted, or begins, while it is on."""
        return self.target == ALL and self.kind in (Kind.STOP_SUBMITS, Kind.PAUSE)

    @property
    def because(self) -> str:
        """The reason as the end of a message; empty without one."""
        return f": {self.reason}" if self.reason else ""

    def encode(self) -> bytes:
        """The value in Redis."""
        return orjson.dumps({"reason": self.reason, "value": self.value, "since_ms": self.since_ms, "by": self.by})

    @classmethod
    def decode(cls, name: bytes, raw: bytes) -> Switch:
        """The switch of a field and its value. Raises ``UndecodableRecord``."""
        try:
            kind, target = name.decode().split(" ", 1)
            fields: dict[str, Any] = orjson.loads(raw)
            return checked(kind, target, reason=str(fields["reason"]), value=fields["value"]).at(
                int(fields["since_ms"]), str(fields["by"])
            )
        except (ValueError, KeyError, TypeError, WrongSwitch) as exc:
            raise UndecodableRecord(f"switch {name[:100]!r}", raw) from exc

    def at(self, since_ms: int, by: str) -> Switch:
        """The same, turned on at this time by this caller."""
        return Switch(self.kind, self.target, self.reason, self.value, since_ms, by)


def checked(kind: str, target: str, *, reason: str = "", value: int | None = None) -> Switch:
    """The switch with these values. Raises ``WrongSwitch``, which names the wrong one and the possible ones."""
    try:
        switch = Switch(Kind(kind), target, reason, value)
    except ValueError:
        raise WrongSwitch("kind", f"must be one of {', '.join(Kind)}, not {kind[:40]!r}") from None
    if not _is_target(switch.kind, target):
        raise WrongSwitch("target", f"{target[:100]!r} is none of {kind}: {_TARGETS[switch.kind]}")
    if len(reason) > REASON_CHARACTERS:
        raise WrongSwitch("reason", f"has more than {REASON_CHARACTERS} characters")
    if switch.kind is Kind.NOTICE and not reason.strip():
        raise WrongSwitch("reason", "is the text of the notice, and is empty")
    if switch.kind is Kind.MAX_STREAMS and not (value is not None and 0 <= value <= _STREAMS_AT_MOST):
        raise WrongSwitch("value", f"must be a number of streams from 0 to {_STREAMS_AT_MOST}")
    if switch.kind is not Kind.MAX_STREAMS and value is not None:
        raise WrongSwitch("value", f"is only for {Kind.MAX_STREAMS.value}")
    return switch


_TARGETS = {
    Kind.STOP_SUBMITS: "all, model:NAME, class:interactive, class:batch or owner:NAME",
    Kind.PAUSE: "all or model:NAME",
    Kind.DRAIN: "an instance, as `spool status` names it",
    Kind.TRANSPORT_OFF: ", ".join(Transport),
    Kind.MAX_STREAMS: ALL,
    Kind.NOTICE: ALL,
}


def _is_target(kind: Kind, target: str) -> bool:
    what, _, name = target.partition(":")
    match kind:
        case Kind.DRAIN:
            # The default of the command line, which would drain nothing.
            return target != ALL and _INSTANCE.fullmatch(target) is not None
        case Kind.TRANSPORT_OFF:
            return target in list(Transport)
        case Kind.STOP_SUBMITS if what == "owner":
            return is_owner(name)
        case Kind.STOP_SUBMITS if what == "class":
            return name in _CLASSES
        case Kind.STOP_SUBMITS | Kind.PAUSE if what == "model":
            return 0 < len(name) <= _TARGET_CHARACTERS and name.isprintable()
    return target == ALL


def decoded(pairs: list[bytes]) -> Iterator[Switch]:
    """The switches of a hash; those that this version cannot read are left out."""
    for name, raw in zip(pairs[::2], pairs[1::2], strict=True):
        try:
            yield Switch.decode(name, raw)
        except UndecodableRecord:
            continue
