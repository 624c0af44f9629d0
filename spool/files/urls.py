"""``SPOOL_FILES_URL``: the store of new files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from spool.files.directory import Directory
from spool.files.records import FileLimits, FileRecords
from spool.files.redis_contents import RedisContents
from spool.files.store import Files
from spool.redis.link import RedisLink


def check_files_url(url: str) -> None:
    """Raise ``ValueError`` for a URL that names no store."""
    if not url:
        return
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
            raise ValueError("must be file:/// and the path of a directory, such as file:///srv/spool-files")
    else:
        raise ValueError("must be empty, or begin with file:///")


def files_at(url: str, link: RedisLink, limits: FileLimits, lease_s: float) -> Files:
    """The files of an installation whose new files go to this store. Raises ``ValueError``."""
    check_files_url(url)
    records, in_redis = FileRecords(link, limits, lease_s), RedisContents(link)
    if not url:
        return Files(records, in_redis)
    return Files(records, Directory(Path(urlsplit(url).path)), [in_redis])
