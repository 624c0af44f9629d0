"""Limits of the requests that change something, by credential and by address.

They are exact over all processes: a process reserves requests in Redis, at large limits several at a time, and uses
a reservation within a second. So a burst costs one round trip for many requests. Polls cost none and are not counted.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spool.access.caller import Caller, Kind
from spool.access.door import WINDOW_S, Counter, Door, State
from spool.errors import StoreUnavailable
from web.access.addresses import counted_as
from web.problems import Problem, retry_after

_VALID_S = 1.0
_IN_A_BLOCK = 600
"""A block is this part of the limit: what a process may leave unused of it."""
_KEPT_AT_MOST = 10_000
_NAMES = {"c": "credential", "a": "address"}


@dataclass(slots=True)
class _Block:
    """Reserved requests, usable until ``until`` (monotonic). If none were granted, it refuses until then."""

    is_refusal: bool
    left: int
    until: float
    states: list[State]


class RequestLimits:
    """Admits requests. ``by_credential`` and ``by_address`` are requests a minute; 0: no limit. A key may have a limit
    of its own. ``clock`` is monotonic."""

    def __init__(
        self, door: Door, by_credential: int, by_address: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._door = door
        self._by_credential = by_credential
        self._by_address = by_address
        self._clock = clock
        self._blocks: OrderedDict[tuple[Counter, ...], _Block] = OrderedDict()

    def admit(self, caller: Caller, address: str) -> list[State]:
        """Count one request. Returns the state of each of its limits. Raises a 429 ``Problem``. While Redis is away,
        nothing is limited: the request fails by itself."""
        counters = self._counters(caller, address)
        if not counters:
            return []
        now = self._clock()
        block = self._blocks.get(counters)
        if block is None or now >= block.until or (block.left <= 0 and not block.is_refusal):
            try:
                block = self._reserve(counters, now)
            except StoreUnavailable:
                return []
        if block.left <= 0:
            raise _refusal(block.states)
        block.left -= 1
        return [State(state.counter, state.rest + block.left, state.reset_s) for state in block.states]

    def _counters(self, caller: Caller, address: str) -> tuple[Counter, ...]:
        found = []
        limit = caller.limits.requests_per_minute or self._by_credential
        if limit and caller.kind is not Kind.ANONYMOUS:
            # A link or a token is counted by itself: its holder must not use up its key's requests.
            inside = caller.job or caller.batch or caller.conversation
            found.append(Counter(":".join(filter(None, ("c", caller.credential or caller.owner, inside))), limit))
        counted = counted_as(address)
        if self._by_address and counted:
            found.append(Counter(f"a:{counted}", self._by_address))
        return tuple(found)

    def _reserve(self, counters: tuple[Counter, ...], now: float) -> _Block:
        wanted = max(1, min(counter.limit for counter in counters) // _IN_A_BLOCK)
        granted, states = self._door.reserve(counters, wanted)
        block = self._blocks[counters] = _Block(granted == 0, granted, now + _VALID_S, states)
        self._blocks.move_to_end(counters)
        while len(self._blocks) > _KEPT_AT_MOST:
            self._blocks.popitem(last=False)
        return block


def _refusal(states: Sequence[State]) -> Problem:
    full = min(states, key=lambda state: state.rest)
    name, limit = _NAMES[full.counter.name[0]], full.counter.limit
    detail = f"limit of {limit} requests a minute of this {name} reached; wait"
    return Problem(429, "Too many requests", detail, headers={**retry_after(full.reset_s), **headers_of(states)})


def headers_of(states: Sequence[State]) -> dict[str, str]:
    """The headers that show limits (draft-ietf-httpapi-ratelimit-headers); empty without limits."""
    if not states:
        return {}
    shown = [(_NAMES[state.counter.name[0]], state) for state in states]
    return {
        "RateLimit-Policy": ", ".join(f'"{name}";q={state.counter.limit};w={WINDOW_S}' for name, state in shown),
        "RateLimit": ", ".join(f'"{name}";r={max(0, state.rest)};t={state.reset_s}' for name, state in shown),
    }


def openai_headers_of(states: Sequence[State]) -> dict[str, str]:
    """The headers that OpenAI's clients read: of the limit with the smallest rest."""
    if not states:
        return {}
    state = min(states, key=lambda state: state.rest)
    return {
        "x-ratelimit-limit-requests": str(state.counter.limit),
        "x-ratelimit-remaining-requests": str(max(0, state.rest)),
        "x-ratelimit-reset-requests": f"{state.reset_s}s",
    }
