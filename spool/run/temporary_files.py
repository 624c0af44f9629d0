"""The writable directory for temporary files, which gunicorn and the metrics of several processes need."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from spool.errors import SettingsError


def temporary_directory(find: Callable[[], str] = tempfile.gettempdir) -> Path:
    """The directory for temporary files. Raises ``SettingsError`` if none is writable."""
    wanted = os.environ.get("TMPDIR")
    try:
        found = find()
    except FileNotFoundError as exc:
        raise SettingsError(
            f"no writable directory for temporary files (TMPDIR={wanted!r}, /tmp, /var/tmp): "
            "set TMPDIR to a writable one"
        ) from exc
    return Path(found)
