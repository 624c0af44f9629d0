"""A settings file that is read again when it changes. A file with an error leaves the last good content in force."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from spool.errors import SettingsError

log = logging.getLogger("spool.settings")

Content = TypeVar("Content")
_Stamp = tuple[int, int, int]


class RereadFile(Generic[Content]):
    """The content of the file at ``path``, as ``load`` reads it; ``otherwise`` without a path.

    Raises what ``load`` raises (``SettingsError``) when it is made, because a program must not start with a file that
    it cannot read.
    """

    def __init__(self, path: Path | None, load: Callable[[Path], Content], otherwise: Content) -> None:
        self._path = path
        self._load = load
        # Before the file is read: a change in between is then seen at the next look.
        self._stamp = self._stamped()
        self.content = otherwise if path is None else load(path)
        self.error: str | None = None
        """Why the file as it is now cannot be used; None if its content is in force."""

    def look(self) -> bool:
        """Read the file again if it has changed. Returns whether the content is another one now. Call it regularly."""
        stamp = self._stamped()
        if self._path is None or stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            content = self._load(self._path)
        except SettingsError as exc:
            self.error = str(exc)
            log.error("%s; the settings of its last valid version stay in force", exc)
            return False
        self.error = None
        is_other, self.content = content != self.content, content
        log.info("%s was read again%s", self._path, "" if is_other else "; nothing in it has changed")
        return is_other

    def _stamped(self) -> _Stamp | None:
        """What differs after a change: time, size and inode, for files that are replaced. None without a file."""
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
