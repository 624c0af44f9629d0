"""Where temporary files go, proven to be writable: gunicorn and the metrics of several processes need such a place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from spool.errors import SettingsError


def temporary_directory(find: Callable[[], str] = tempfile.gettempdir) -> Path:
    """The directory for temporary files. ``SettingsError`` where none can be written, or not the one of ``TMPDIR``."""
    wanted = os.environ.get("TMPDIR")
    try:
        found = find()
    except FileNotFoundError as exc:
        raise SettingsError(
            f"no directory for temporary files can be written (TMPDIR={wanted!r}, /tmp, /var/tmp): "
            "set TMPDIR to one that can"
        ) from exc
    return Path(found)
