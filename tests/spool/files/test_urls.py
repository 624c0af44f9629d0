"""``SPOOL_FILES_URL``."""

from __future__ import annotations

from pathlib import Path

import pytest

from spool.files.records import FileLimits
from spool.files.urls import check_files_url, files_at
from spool.redis.link import RedisLink
from tests.spool.files.stores import stored


def test_new_files_go_where_the_url_says(link: RedisLink, tmp_path: Path) -> None:
    """Without one to Redis; older files there can still be read with another."""
    older = stored(files_at("", link, FileLimits(), 1))
    files = files_at(f"file://{tmp_path}", link, FileLimits(), 1)
    assert b"".join(files.read(files.get(older.id, "alice"))) == b"{}\n"
    newer = stored(files)
    assert (older.place, newer.place) == ("redis", "file")
    assert (tmp_path / newer.id).read_bytes() == b"{}\n"


@pytest.mark.parametrize("url", ["/srv/files", "file://srv/files", "file:///", "file:", "s3:///x", "http://x", "redis"])
def test_url_that_names_no_store(url: str) -> None:
    """It is refused with the form that it should have."""
    with pytest.raises(ValueError, match="must be"):
        check_files_url(url)
