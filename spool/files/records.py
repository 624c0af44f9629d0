"""The records of files in Redis, and the limits of their number and size.

A file is being uploaded, complete, or being deleted. Its record is the first that is written and the last that is
deleted, so whatever dies, the sweep finds what is left. An upload that is silent for ``lease_s`` is deleted. All keys
are in shard 0, so that the sums are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources

from spool.errors import FileNotFound, FilesFull, OwnerFilesFull, UndecodableRecord, UploadExpired
from spool.files.file import Description, StoredFile, is_file_id, new_file_id
from spool.keys import HOME, prefix
from spool.redis.errors import is_wrong_type, translated
from spool.redis.link import RedisLink
from spool.redis.script import Script

FILES_AT_MOST = 10_000
"""The most files of one owner."""
_DELETED_AT_ONCE = 50
"""Blocks deleted in one call. It blocks Redis for a few milliseconds."""
_P = prefix(HOME)
_AT_ONCE = 500


def _script(name: str) -> Script:
    return Script.of(name, (resources.files("spool.files") / "lua" / f"{name}.lua").read_text(encoding="utf-8"))


_BEGIN, _ADD, _COMPLETE = _script("begin_file"), _script("add_block"), _script("complete_file")
_HIDE, _FORGET = _script("hide_file"), _script("forget_file")


def record_key(file_id: str) -> str:
    """The Redis key of a file's record."""
    return f"{_P}file:{file_id}"


def block_key(file_id: str, number: int) -> str:
    """The Redis key of a file's block, counted from 0."""
    return f"{_P}file:{file_id}:{number}"


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Limits in bytes, as files are stored; 0: none. ``total`` is that of all files, ``owner`` that of one owner's."""

    total: int = 0
    owner: int = 0


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some files of an owner. ``has_more``: whether others follow."""

    files: list[StoredFile]
    has_more: bool


class Upload:
    """A file whose content is being stored. Every call may raise ``StoreUnavailable``."""

    def __init__(self, link: RedisLink, file_id: str, limits: FileLimits, lease_s: float) -> None:
        self.id = file_id
        self._link = link
        self._limits = limits
        self._lease_ms = round(lease_s * 1000)
        self._blocks = 0

    def add(self, size: int, content: bytes = b"") -> None:
        """Count a block that takes ``size`` bytes, with its content if Redis stores it. Raises ``FilesFull``,
        ``OwnerFilesFull``, ``UploadExpired``."""
        limits = self._limits
        args = (self.id, self._blocks, size, limits.total, limits.owner, self._lease_ms, content)
        self._blocks += 1
        _check(self._link.run(_ADD, HOME, *args), limits)

    def complete(self, size: int, description: Description) -> None:
        """Complete the file. Raises ``UploadExpired``."""
        args = (self.id, size, description.filename, description.purpose, description.ttl_s)
        _check(self._link.run(_COMPLETE, HOME, *args), self._limits)


class FileRecords:
    """The records of all files. Every call may raise ``StoreUnavailable``."""

    def __init__(self, link: RedisLink, limits: FileLimits, lease_s: float) -> None:
        self._link = link
        self._limits = limits
        self._lease_s = lease_s

    def begin(self, owner: str, place: str) -> Upload:
        """Begin an upload. Raises ``OwnerFilesFull``."""
        file_id = new_file_id(self._now_ms())
        args = (file_id, owner, place, FILES_AT_MOST, round(self._lease_s * 1000))
        _check(self._link.run(_BEGIN, HOME, *args), self._limits)
        return Upload(self._link, file_id, self._limits, self._lease_s)

    def get(self, file_id: str, owner: str) -> StoredFile:
        """A complete file of this owner. Raises ``FileNotFound``, ``UndecodableRecord``."""
        if is_file_id(file_id):
            now_ms = self._now_ms()
            reply = self._link.call("HGETALL", record_key(file_id))
            found = _ready(reply, now_ms)
            if found is not None and found.owner == owner:
                return found
        raise FileNotFound(file_id)

    def newest(
        self, owner: str, *, limit: int, after: str = "", oldest_first: bool = False, purpose: str = ""
    ) -> FilePage:
        """A page of the owner's files, newest first, behind the file ``after``, which may be deleted by now."""
        now_ms, found = self._now_ms(), list[StoredFile]()
        # Of one purpose, any number may have to be read for a few.
        count = _AT_ONCE if purpose else min(limit + 1, _AT_ONCE)
        while True:
            ids = self._ids(owner, after, count, oldest_first=oldest_first)
            for file in self._look(ids, now_ms):
                if purpose not in ("", file.purpose):
                    continue
                if len(found) == limit:
                    return FilePage(found, has_more=True)
                found.append(file)
            if len(ids) < count:
                return FilePage(found, has_more=False)
            after = ids[-1]

    def _look(self, ids: Sequence[str], now_ms: int) -> Iterator[StoredFile]:
        """The complete files among these. Damaged records are left out."""
        replies = self._link.pipeline_each([("HGETALL", record_key(each)) for each in ids]) if ids else []
        for reply in replies:
            if isinstance(reply, Exception):
                if is_wrong_type(reply):
                    continue
                raise translated(reply) from reply
            with suppress(UndecodableRecord):
                file = _ready(reply, now_ms)
                if file is not None:
                    yield file

    def _ids(self, owner: str, after: str, count: int, *, oldest_first: bool) -> list[str]:
        key, behind = f"{_P}files:{owner}", f"({after}"
        if oldest_first:
            args: Sequence[object] = (behind if after else "-", "+", "BYLEX")
        else:
            args = (behind if after else "+", "-", "BYLEX", "REV")
        return [raw.decode() for raw in self._link.call("ZRANGE", key, *args, "LIMIT", 0, count)]

    def hide(self, file_id: str, owner: str = "", *, only_due: bool = False) -> str | None:
        """Begin to delete a file: from now on, it does not exist. Returns the name of the store that has its content;
        None if there is no such file, or with ``only_due`` if its end has not come."""
        reply = self._link.run(_HIDE, HOME, file_id, owner, int(only_due)) if is_file_id(file_id) else []
        return reply[0].decode() if reply else None

    def forget(self, file_id: str) -> None:
        """Delete the blocks and the record of a hidden file."""
        while self._link.run(_FORGET, HOME, file_id, _DELETED_AT_ONCE):
            pass

    def due(self, count: int) -> list[str]:
        """Some files and uploads whose end has come."""
        command = ("ZRANGEBYSCORE", f"{_P}file-ends", "-inf", self._now_ms(), "LIMIT", 0, count)
        return [raw.decode() for raw in self._link.call(*command)]

    def used_bytes(self, owner: str = "") -> int:
        """The bytes that all files take, or those of an owner."""
        return int(self._link.call("HGET", f"{_P}file-bytes", f"owner:{owner}" if owner else "all") or 0)

    def _now_ms(self) -> int:
        seconds, micros = self._link.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000


def _ready(reply: Sequence[bytes], now_ms: int) -> StoredFile | None:
    record = dict(zip(reply[::2], reply[1::2], strict=True))
    if record.get(b"status") != b"ready":
        return None
    file = StoredFile.decode(reply)
    return file if file.expires_ms > now_ms else None


def _check(outcome: bytes, limits: FileLimits) -> None:
    if outcome == b"full":
        raise FilesFull(limits.total)
    if outcome == b"owner_full":
        raise OwnerFilesFull(60.0)
    if outcome == b"gone":
        raise UploadExpired
