"""``SPOOL_FILES_URL``: the store of new files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from spool.files.contents import Contents
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
    elif parts.scheme == "s3":
        if not parts.netloc:
            raise ValueError("must be s3:// and the name of a bucket, such as s3://bucket/prefix")
    else:
        raise ValueError("must be empty, or begin with file:/// or s3://")


def files_at(url: str, link: RedisLink, limits: FileLimits, lease_s: float) -> Files:
    """The files of an installation whose new files go to this store. Raises ``ValueError``, ``SettingsError``."""
    check_files_url(url)
    records, in_redis = FileRecords(link, limits, lease_s), RedisContents(link)
    if not url:
        return Files(records, in_redis)
    return Files(records, _contents_at(url), [in_redis])


def _contents_at(url: str) -> Contents:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Directory(Path(parts.path))
    # The library is an extra, and takes long to import.
    from spool.files.s3 import Bucket

    return Bucket(parts.netloc, parts.path.strip("/"))
