"""The one place where redis-py's exceptions become Spool's: what each means, most specific first."""

from __future__ import annotations

import logging

from redis import exceptions as theirs

from spool.errors import OutcomeUnknown, StoreForbidden, StoreFull, StoreReadOnly, StoreUnavailable

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
"""What Redis refused in so many words: nothing was done. The most specific class that fits counts."""


_FORBIDDEN = ("NOPERM", "ACL failure", "user executing the script", "has no permissions")
"""How Redis and Valkey say from within a script that its user may not do that."""


class ScriptMissing(StoreUnavailable):
    """The server does not have this script (any more); loading it mends that."""


def translated(exc: Exception) -> Exception:
    """Spool's error for one of redis-py's, most specific first; ``StoreUnavailable`` if nothing fits better."""
    if isinstance(exc, theirs.NoScriptError):
        return ScriptMissing("the script is not loaded")
    for cls in type(exc).__mro__:
        if cls in ANSWERED:
            return ANSWERED[cls](_plain(exc))
    if "OOM" in str(exc)[:64]:
        # From within a script the code comes wrapped in the script's own error.
        return StoreFull(_plain(exc))
    if any(words in str(exc) for words in _FORBIDDEN):
        return StoreForbidden(_plain(exc))
    if isinstance(exc, theirs.ResponseError):
        # Nothing that passes: a bug in a script, or a key of a type that Spool did not write.
        log.error("Redis refused: %s", _plain(exc))
    return StoreUnavailable(_plain(exc))


def away(exc: Exception, sent: bool) -> Exception:
    """The error for a call that was not answered; ``sent``: some try of it may have reached Redis."""
    return OutcomeUnknown(_plain(exc)) if sent else translated(exc)


def _plain(exc: Exception) -> str:
    # Never the URL, which may carry a password: redis-py's messages name host and port alone.
    return f"Redis: {str(exc)[:300]}"
