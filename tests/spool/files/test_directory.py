"""Contents in a directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.errors import ContentsUnavailable
from spool.files.directory import Directory
from spool.files.file import BLOCK_BYTES
from spool.redis.link import RedisLink
from tests.spool.files.stores import described, files_of, stored


def test_content_has_its_name_once_it_is_complete(link: RedisLink, tmp_path: Path) -> None:
    """While it is written, it has another name; no other user of the machine may read it."""
    directory = tmp_path / "new" / "dir"
    files, seen = files_of(Directory(directory), link), list[str]()

    def pieces() -> Iterator[bytes]:
        yield b"x" * BLOCK_BYTES
        yield b"x"
        seen.extend(path.suffix for path in directory.iterdir())

    file = files.create("alice", pieces(), described)
    (path,) = directory.iterdir()
    assert seen == [".part"]
    assert path.name == file.id
    assert path.stat().st_mode & 0o777 == 0o600


def test_directory_that_cannot_be_written(link: RedisLink, tmp_path: Path) -> None:
    """The error is that of a store which is away, and names the setting."""
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(ContentsUnavailable, match="SPOOL_FILES_URL"):
        stored(files_of(Directory(tmp_path / "file"), link))
