"""Translates redis-py's exceptions into Spool's, most specific first. No other module does this."""

from __future__ import annotations

import logging
from contextlib import suppress

from redis import exceptions as theirs

from spool.errors import OutcomeUnknown, StoreForbidden, StoreFull, StoreReadOnly, StoreRefusesWrites, StoreUnavailable

log = logging.getLogger("spool.redis")

ANSWERED: dict[type[Exception], type[StoreUnavailable]] = {
    theirs.OutOfMemoryError: StoreFull,
    theirs.ReadOnlyError: StoreReadOnly,
    theirs.MasterDownError: StoreReadOnly,
    theirs.ClusterDownError: StoreUnavailable,
    theirs.TryAgainError: StoreUnavailable,
    theirs.BusyLoadingError: StoreUnavailable,
    theirs.MaxConnectionsError: StoreUnavailable,
    theirs.AuthenticationError: StoreUnavailable,
    theirs.AuthorizationError: StoreUnavailable,
    theirs.NoPermissionError: StoreForbidden,
    theirs.ExternalAuthProviderError: StoreUnavailable,
}
"""Explicit refusals by Redis: the command was not executed. The most specific matching class counts."""


_FORBIDDEN = ("NOPERM", "ACL failure", "user executing the script", "has no permissions")
"""Texts with which Redis and Valkey report a missing permission from within a script."""
_NO_WRITES = ("MISCONF", "NOREPLICAS")
"""The error codes of a server that cannot write its files, and of one with too few replicas."""


REFUSED_WRITES = (StoreFull, StoreReadOnly, StoreRefusesWrites)
"""The errors of a server that refuses a write, and may still answer reads."""


def unless_refused() -> suppress:
    """A context for the writes by which a read tidies up: if the server refuses them, a later read makes them."""
    return suppress(*REFUSED_WRITES)


class ScriptMissing(StoreUnavailable):
    """The server does not have this script, or no longer has it. Load it and call again."""


def translated(exc: Exception) -> Exception:
    """Spool's error for an error of redis-py, the most specific one; ``StoreUnavailable`` if none fits better."""
    if isinstance(exc, theirs.NoScriptError):
        return ScriptMissing("the script is not loaded")
    for cls in type(exc).__mro__:
        if cls in ANSWERED:
            return ANSWERED[cls](_plain(exc))
    if "OOM" in str(exc)[:64]:
        # An error within a script wraps the error code in the script's own error.
        return StoreFull(_plain(exc))
    if any(code in str(exc)[:64] for code in _NO_WRITES):
        return StoreRefusesWrites(_plain(exc))
    if any(words in str(exc) for words in _FORBIDDEN):
        return StoreForbidden(_plain(exc))
    if isinstance(exc, theirs.ResponseError):
        # Not transient: a bug in a script, or a key of a type that Spool did not write.
        log.error("Redis refused: %s", _plain(exc))
    return StoreUnavailable(_plain(exc))


def is_wrong_type(reply: object) -> bool:
    """Whether a reply is the refusal of a command that the type of its key does not have."""
    return isinstance(reply, theirs.ResponseError) and str(reply).startswith("WRONGTYPE")


def away(exc: Exception, sent: bool) -> Exception:
    """The error for an unanswered call. ``sent``: at least one try may have reached Redis."""
    return OutcomeUnknown(_plain(exc)) if sent else translated(exc)


def _plain(exc: Exception) -> str:
    # Never the URL, which may contain a password. redis-py's messages contain only host and port.
    return f"Redis: {str(exc)[:300]}"
