"""The static keys of a process: those of the settings, and those of a file that is read again when it changes."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path

from spool.access.caller import Caller
from spool.access.static_keys import StaticKey, callers_by_digest, digest_of, read_static_keys

log = logging.getLogger("spool.web")


class StaticTable:
    """Callers by static key. ``look`` reads the file again, if it has changed; a file that cannot be read leaves the
    keys as they are. Raises ``OSError`` and ``ValueError`` for such a file at the start."""

    def __init__(self, keys: tuple[StaticKey, ...], path: Path | None = None) -> None:
        self._given = keys
        self._path = path
        self._version = _version_of(path)
        self._callers = callers_by_digest((*keys, *(read_static_keys(path) if path else ())))

    def caller(self, secret: bytes) -> Caller | None:
        """The caller with this secret, compared in constant time; None if there is none."""
        shown, found = digest_of(secret), None
        for known, caller in self._callers.items():
            if hmac.compare_digest(shown, known):
                found = caller
        return found

    def current(self, caller: Caller) -> Caller | None:
        """The caller as its key is now; None if the key was removed."""
        return self._callers.get(caller.fingerprint)

    def by_id(self, credential: str, owner: str) -> Caller | None:
        """The caller of this owner's key with this id; None if there is none. The second key of ``a`` has the same id
        as the first one of ``a-2``."""
        named = (caller for caller in self._callers.values() if caller.credential == credential)
        return next((caller for caller in named if caller.owner == owner), None)

    def look(self) -> None:
        """Read the file again if it has changed."""
        if self._path is None:
            return
        version = _version_of(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._callers = callers_by_digest((*self._given, *read_static_keys(self._path)))
        except (OSError, ValueError) as exc:
            log.error("SPOOL_API_KEYS_FILE=%r: %s; the keys stay as they were", str(self._path), exc)


def _version_of(path: Path | None) -> tuple[int, ...]:
    """Differs after a change of the file; empty if there is no file."""
    try:
        found = path.stat() if path else None
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else ()
