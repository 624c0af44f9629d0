"""A settings file that changes while a process runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spool.errors import SettingsError
from spool.reread_file import RereadFile


def load(path: Path) -> int:
    """The number in a file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{path.name}: {exc}") from exc


def write(path: Path, text: str) -> None:
    """Change the file, at another time than before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def test_change_is_read(tmp_path: Path) -> None:
    """A look reads the file again once it has changed, also one that was replaced."""
    path = tmp_path / "n"
    write(path, "1")
    file = RereadFile(path, load, 0)
    assert (file.content, file.look()) == (1, False)
    write(path, "2")
    assert (file.look(), file.content) == (True, 2)
    other = tmp_path / "other"
    write(other, "3")
    os.utime(other, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    other.rename(path)
    assert (file.look(), file.content) == (True, 3)
    write(path, "3")
    assert file.look() is False


def test_error_leaves_the_last_content(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file with an error, or none, is reported once; the last good content stays, until the file is good again."""
    path = tmp_path / "n"
    write(path, "1")
    file = RereadFile(path, load, 0)
    write(path, "x")
    assert [file.look(), file.look()] == [False, False]
    assert (file.content, len(caplog.messages)) == (1, 1)
    assert file.error is not None
    assert "n: invalid literal" in file.error
    path.unlink()
    assert (file.look(), file.content) == (False, 1)
    assert "No such file" in caplog.messages[-1]
    write(path, "2")
    assert (file.look(), file.content, file.error) == (True, 2, None)


def test_file_with_an_error_at_the_start(tmp_path: Path) -> None:
    """A program does not start with a file that it cannot read; without a path there is nothing to read."""
    with pytest.raises(SettingsError):
        RereadFile(tmp_path / "none", load, 0)
    file = RereadFile(None, load, 7)
    assert (file.look(), file.content) == (False, 7)
