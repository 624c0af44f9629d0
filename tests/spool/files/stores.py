"""Stores of files for tests: on Redis or in a directory, with clocks and sizes that a test sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spool.files.contents import Contents
from spool.files.directory import Directory
from spool.files.file import Description, StoredFile
from spool.files.records import FileLimits, FileRecords, record_key
from spool.files.redis_contents import RedisContents
from spool.files.store import Files
from spool.keys import HOME, prefix
from spool.redis.link import RedisLink

DAY_S = 86_400
NO_LIMITS = FileLimits()
PLACES = ("redis", "file")


def contents_of(place: str, link: RedisLink, directory: Path) -> Contents:
    """The store with this name."""
    return RedisContents(link) if place == "redis" else Directory(directory)


def files_of(contents: Contents, link: RedisLink, limits: FileLimits = NO_LIMITS, lease_s: float = 60) -> Files:
    """Files whose content goes to this store."""
    return Files(FileRecords(link, limits, lease_s), contents)


def described(filename: str = "a.jsonl", purpose: str = "batch") -> Description:
    """What a client says about its file."""
    return Description(filename, purpose, DAY_S)


def stored(files: Files, content: bytes = b"{}\n", owner: str = "alice", **said: Any) -> StoredFile:
    """A file with this content."""
    return files.create(owner, [content], lambda: described(**said))


def left(link: RedisLink) -> set[str]:
    """The keys of files in Redis, apart from sums that are zero."""
    keys = {key.decode().removeprefix(prefix(HOME)) for key in link.call("KEYS", f"{prefix(HOME)}file*")}
    return keys - ({"file-bytes"} if FileRecords(link, FileLimits(), 1).used_bytes() == 0 else set())


def expire(link: RedisLink, file_id: str) -> None:
    """Let its end have come, whatever it is."""
    link.call("ZADD", f"{prefix(HOME)}file-ends", 1, file_id)
    if link.call("HEXISTS", record_key(file_id), "expires_ms"):
        link.call("HSET", record_key(file_id), "expires_ms", 1)


def broken_off(*pieces: bytes) -> Iterator[bytes]:
    """The pieces of a client that disconnects after them."""
    yield from pieces
    raise ConnectionResetError
