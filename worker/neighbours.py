"""Notices at once when another worker process of this machine dies, so that its jobs need not wait for their leases.

Each process holds a lock on a file of its own. The kernel releases it with the process, however that ends, and not
while it is only stopped or busy. The others try these locks several times a second. Processes that share no directory
for temporary files do not see each other: between them, leases alone decide, as between machines.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from spool.errors import SettingsError, StoreUnavailable
from spool.run.temporary_files import temporary_directory

log = logging.getLogger("spool.worker")

LOOK_S = 0.25
_FILES_AT_ONCE = 1000
_STALE_S = 3600.0
"""After this time no lease of a dead process remains, so nobody needs its file."""


def place_of(redis_url: str) -> str:
    """A short name of the server and database that this URL names, without its password."""
    parts = urlsplit(redis_url)
    address = f"{parts.hostname or ''}:{parts.port or ''}{parts.path}"
    return hashlib.sha256(address.encode()).hexdigest()[:12]


class Neighbours:
    """This process's lock, and the locks of the others that work for the same Redis.

    ``report`` is called with the name of each process that died, and returns how many of its jobs ran. It may raise
    ``StoreUnavailable``; then it is called again at a later look.
    """

    def __init__(
        self,
        name: str,
        redis_url: str,
        report: Callable[[str], int],
        temporary: Callable[[], Path] = temporary_directory,
    ) -> None:
        self._prefix = f"{place_of(redis_url)}."
        # A shared directory may have files of other machines, whose locks this kernel may not know.
        self._host = name.partition(":")[0]
        self._name = self._prefix + name
        self._report = report
        self._temporary = temporary
        self._directory = Path()
        self._fd = -1

    def join(self) -> None:
        """Take this process's own lock. Without a private directory it does nothing, and its leases alone count."""
        try:
            self._directory = self._temporary() / f"spool-workers-{os.getuid()}"
            self._directory.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(self._directory):
                raise PermissionError(f"{self._directory} belongs to another user, or others may write to it")
            # Locked before it has its name: nobody may find it without its lock.
            unnamed = self._directory / f".{self._name}"
            fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(self._directory / self._name)
        except (OSError, SettingsError) as exc:
            log.warning("the death of this worker will be noticed by its leases only: %s", exc)
            return
        self._fd = fd
        self._remove_stale()

    def leave(self) -> None:
        """Remove this process's file: it ends in order, and holds no job."""
        if self._fd >= 0:
            with suppress(OSError):
                (self._directory / self._name).unlink()
            os.close(self._fd)
            self._fd = -1

    def watch(self, sleep: Callable[[float], object], is_over: Callable[[], bool]) -> None:
        """Look at the others' locks until ``is_over``."""
        while self._fd >= 0 and not is_over():
            self.look()
            sleep(LOOK_S)

    def look(self) -> None:
        """Report each process whose lock is free, and remove its file."""
        for path in self._files(self._is_neighbour):
            with _locked(path) as is_dead:
                if is_dead:
                    self._report_and_remove(path)

    def _files(self, is_wanted: Callable[[str], bool]) -> list[Path]:
        with suppress(OSError), os.scandir(self._directory) as entries:
            wanted = (self._directory / entry.name for entry in entries if is_wanted(entry.name))
            return list(islice(wanted, _FILES_AT_ONCE))
        return []

    def _is_neighbour(self, file: str) -> bool:
        name = file.removeprefix(self._prefix)
        return file not in (name, self._name) and name.partition(":")[0] == self._host

    def _report_and_remove(self, path: Path) -> None:
        name = path.name[len(self._prefix) :]
        try:
            count = self._report(name)
        except StoreUnavailable:
            # The heartbeat reports the outage.
            return
        log.warning("worker %s died; its jobs are taken over now (%d)", name, count)
        with suppress(OSError):
            path.unlink()

    def _remove_stale(self) -> None:
        """Remove files of processes that died with all their neighbours."""
        for path in self._files(lambda file: file != self._name and not self._is_neighbour(file)):
            with suppress(OSError), _locked(path) as is_dead:
                if is_dead and path.stat().st_mtime < time.time() - _STALE_S:
                    path.unlink()


def _is_private(directory: Path) -> bool:
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Try a file's lock, and hold it meanwhile, so that one process alone handles it. False if another holds it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)
