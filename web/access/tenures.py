"""Open streams by the credential under which they began: they end within seconds of its end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from spool.access.caller import Caller, Kind
from spool.errors import OwnerStreamsFull

log = logging.getLogger("spool.web")

End = Callable[[], object]


class Tenures:
    """The open streams of a process whose credentials can end."""

    def __init__(self, is_valid: Callable[[Caller], bool], can_end: Callable[[Caller], bool]) -> None:
        self._is_valid = is_valid
        self._can_end = can_end
        self._held: dict[Caller, dict[End, None]] = {}
        self._open = Counter[str]()
        """Open streams by key, those of its links, tokens and sessions included."""

    def refuse_when_full(self, caller: Caller) -> None:
        """Raise ``OwnerStreamsFull`` at the limit of streams of the caller's key."""
        most, key = caller.limits.streams, _key_of(caller)
        if key and most and self._open[key] >= most:
            raise OwnerStreamsFull(f"this key has {most} streams open in this process, its limit", retry_after_s=2.0)

    def take(self, caller: Caller) -> None:
        """Count a stream of the caller's key, until ``give_back``. Raises like ``refuse_when_full``."""
        self.refuse_when_full(caller)
        if key := _key_of(caller):
            self._open[key] += 1

    def give_back(self, caller: Caller) -> None:
        """Count it no longer."""
        if key := _key_of(caller):
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    def hold(self, caller: Caller, end: End) -> Callable[[], None]:
        """Take a stream, and call ``end`` once the caller's credential is no longer valid. Returns the function that
        stops both. Raises like ``refuse_when_full``."""
        can_end = self._can_end(caller)
        if not can_end and not _key_of(caller):
            return _nothing
        self.take(caller)
        if can_end:
            self._held.setdefault(caller, {})[end] = None
        is_held = True

        def let_go() -> None:
            nonlocal is_held
            if not is_held:
                return
            is_held = False
            self.give_back(caller)
            ends = self._held.get(caller, {})
            ends.pop(end, None)
            if not ends:
                self._held.pop(caller, None)

        return let_go

    def look(self) -> None:
        """End the streams whose credentials are no longer valid. Raises ``StoreUnavailable``. An error of one stream
        does not keep the others from their end."""
        for caller in list(self._held):
            if self._is_valid(caller):
                continue
            for end in list(self._held.get(caller, {})):
                try:
                    end()
                except Exception:
                    log.exception("cannot end a stream whose credential has ended")


def _key_of(caller: Caller) -> str:
    """The id of the key in Redis that the caller has, or that is behind its link, token or session; empty: none."""
    return caller.credential if (caller.parent or caller.kind) is Kind.KEY else ""


def _nothing() -> None:
    """Let go of nothing: the credential cannot end."""
