"""Open streams by the credential under which they began: they end within seconds of its end."""

from __future__ import annotations

import logging
from collections.abc import Callable

from spool.access.caller import Caller
from spool.errors import OwnerStreamsFull

log = logging.getLogger("spool.web")

End = Callable[[], object]


class Tenures:
    """The open streams of a process whose credentials can end."""

    def __init__(self, is_valid: Callable[[Caller], bool], can_end: Callable[[Caller], bool]) -> None:
        self._is_valid = is_valid
        self._can_end = can_end
        self._held: dict[Caller, dict[End, None]] = {}

    def hold(self, caller: Caller, end: End) -> Callable[[], None]:
        """Call ``end`` once the caller's credential is no longer valid. Returns the function that stops this. Raises
        ``OwnerStreamsFull`` at the credential's own limit of streams."""
        if not self._can_end(caller):
            return _nothing
        most = caller.limits.streams
        if most and len(self._held.get(caller, ())) >= most:
            raise OwnerStreamsFull(f"this key has {most} streams open in this process, its limit", retry_after_s=2.0)
        self._held.setdefault(caller, {})[end] = None

        def let_go() -> None:
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
