"""The choice of a transport. Down after two strikes of one transport while the server itself answers; up again, one
at a time, after a while. A client remembers the transport that worked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spool_client.timing import Timing

TRANSPORTS = ("sse", "long", "short", "answer")
"""Best first: server-sent events, long polling, short polling, the job's record with its text."""
_STRIKES = 2


@dataclass(slots=True)
class Memory:
    """What a client's last reader found: the transport that worked, and when to try a better one."""

    name: str = ""
    climb_at: float = math.inf
    climb_s: float = 0.0


class Ladder:
    """One reader's place on the ladder."""

    def __init__(
        self,
        names: Sequence[str],
        timing: Timing,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        unknown = [name for name in names if name not in TRANSPORTS]
        if unknown or not names:
            raise ValueError(
                f"transports must be some of {', '.join(TRANSPORTS)}: {', '.join(unknown) or 'none given'}"
            )
        self.names = tuple(names)
        self._timing = timing
        self._memory = memory or Memory()
        self._clock = clock
        known = self._memory.name in names
        self._at = self.names.index(self._memory.name) if known else 0
        self._climb_at = self._memory.climb_at if known else math.inf
        self._climb_s = (self._memory.climb_s if known else 0.0) or timing.climb_s
        self._strikes = 0
        self._fallback: int | None = None
        """The rung to return to if a better one, which is being tried, fails."""

    @property
    def name(self) -> str:
        """The transport in use."""
        return self.names[self._at]

    @property
    def should_climb(self) -> bool:
        """Whether a better transport is to be tried now."""
        return self._at > 0 and self._fallback is None and self._clock() >= self._climb_at

    def next(self) -> str:
        """The transport of the next connection."""
        if self.should_climb:
            self._fallback = self._at
            self._at -= 1
            self._strikes = 0
            self._plan_climb()
        return self.name

    def works(self) -> None:
        """This transport has brought an entry, or has opened while there was none."""
        if self._fallback is not None:
            self._climb_s = self._timing.climb_s
        self._fallback = None
        self._strikes = 0
        memory = self._memory
        memory.name, memory.climb_at, memory.climb_s = self.name, self._climb_at, self._climb_s

    def strike(self, *, is_sure: bool = False) -> bool:
        """This transport failed although the server answers. ``is_sure``: one such failure is enough. Returns whether
        another transport is next."""
        self._strikes += _STRIKES if is_sure or self._fallback is not None else 1
        if self._strikes < _STRIKES:
            return False
        self._strikes = 0
        if self._fallback is not None:
            self._at, self._fallback = self._fallback, None
            self._climb_s = min(self._timing.climb_most_s, self._climb_s * 2)
        else:
            # After the last one the first: the network may have failed, not the transport.
            self._at = (self._at + 1) % len(self.names)
        self._plan_climb()
        return len(self.names) > 1 and self._at > 0

    def _plan_climb(self) -> None:
        self._climb_at = self._clock() + self._climb_s
