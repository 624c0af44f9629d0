"""Checks of this machine: directories, disk, open files, the port."""

from __future__ import annotations

import os
import resource
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from spool.errors import SettingsError
from spool.run import programs
from spool.run.temporary_files import temporary_directory
from spool.settings import RunSettings
from spool.status.finding import Finding, error, ok, warning

_SPACE_BYTES = 1024**3
_BESIDE_STREAMS = 1050


def check_machine(settings: RunSettings) -> Iterator[Finding]:
    """All checks of this machine."""
    if not settings.redis_url.get_secret_value():
        yield check_directory(settings.data_dir)
        yield check_space(settings.data_dir)
    yield _check_temporary()
    yield check_files(settings.max_streams, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield check_port(settings)


def check_directory(folder: Path) -> Finding:
    """Whether the embedded server can write its files."""
    nearest = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return ok("data-directory", f"{folder} is writable")
    return error(
        "data-directory",
        f"SPOOL_DATA_DIR={str(folder)!r}: {nearest} is no writable directory",
        "set SPOOL_DATA_DIR to a writable directory, or let this user write there",
    )


def check_space(folder: Path, needed: int = _SPACE_BYTES) -> Finding:
    """Whether the disk has room for the append-only file."""
    nearest = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    free = shutil.disk_usage(nearest).free
    message = f"{free // 2**20} MiB are free for SPOOL_DATA_DIR={str(folder)!r}"
    if free >= needed:
        return ok("disk-space", message)
    return error("disk-space", message, "free space: Redis refuses every write once it cannot write its file")


def _check_temporary() -> Finding:
    try:
        return ok("temporary-directory", f"{temporary_directory()} is writable")
    except SettingsError as exc:
        return error("temporary-directory", str(exc), "set TMPDIR to a writable directory")


def check_files(max_streams: int, limit: int) -> Finding:
    """Whether a web process may open a file for each stream. ``limit`` is the hard limit, to which it raises its
    own."""
    if limit == resource.RLIM_INFINITY or limit >= 2 * max_streams + _BESIDE_STREAMS:
        return ok("open-files", f"this user may open {'any number of' if limit < 0 else limit} files")
    return warning(
        "open-files",
        f"this user may open {limit} files: a web takes at most {max(1, (limit - 50) // 2)} streams, "
        f"not SPOOL_MAX_STREAMS={max_streams}",
        f"raise the hard limit (ulimit -Hn, LimitNOFILE) to {2 * max_streams + _BESIDE_STREAMS}",
    )


def check_port(settings: RunSettings) -> Finding:
    """Whether the port is free, or this Spool's own."""
    where = f"SPOOL_PORT={settings.port} on {settings.host}"
    try:
        programs.free_port(settings)
    except SettingsError as exc:
        version = _version_at(programs.base_url(settings.host, settings.port))
        if version:
            return ok("port", f"{where} is served by Spool {version}")
        return error("port", str(exc), "stop that program, or set another SPOOL_PORT")
    return ok("port", f"{where} is free: no web runs here")


def _version_at(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/livez", timeout=2.0) as answer:
            return str(answer.headers.get("Spool-Version", ""))
    except (OSError, ValueError, urllib.error.URLError):
        return ""
