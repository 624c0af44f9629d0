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

    def hold(self, caller: Caller, end: End) -> Callable[[], None]:
        """Call ``end`` once the caller's credential is no longer valid. Returns the function that stops this. Raises
        ``OwnerStreamsFull`` at the limit of streams of the caller's key."""
        key = caller.credential if (caller.parent or caller.kind) is Kind.KEY else ""
        can_end, most = self._can_end(caller), caller.limits.streams
        if not can_end and not key:
            return _nothing
        if key and most and self._open[key] >= most:
            raise OwnerStreamsFull(f"this key has {most} streams open in this process, its limit", retry_after_s=2.0)
        if can_end:
            self._held.setdefault(caller, {})[end] = None
        self._open[key] += 1
        is_held = True

        def let_go() -> None:
            nonlocal is_held
            if not is_held:
                return
            is_held = False
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
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


def _nothing() -> None:
    """Let go of nothing: the credential cannot end."""
