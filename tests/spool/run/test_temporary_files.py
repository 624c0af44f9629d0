"""The directory for temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from spool.errors import SettingsError
from spool.run.temporary_files import temporary_directory


def test_temporary_directory_that_can_be_written() -> None:
    """It is Python's."""
    assert temporary_directory() == Path(tempfile.gettempdir())


def test_temporary_directory_where_none_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only file system is said in one line, with the variable to set."""

    def find() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setenv("TMPDIR", "/read-only")
    with pytest.raises(SettingsError, match=r"TMPDIR='/read-only'.*set TMPDIR"):
        temporary_directory(find)
