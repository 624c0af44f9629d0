"""Contents in a directory: one file each. The directory may be shared by several machines.

A disk or a network file system may take seconds for a call, so each call runs in a thread: no other greenlet waits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gevent.threadpool import ThreadPool

from spool.errors import ContentLost, ContentsUnavailable
from spool.files.file import BLOCK_BYTES, StoredFile
from spool.files.records import Upload

_THREADS = 4
_PART = ".part"
"""The suffix of an incomplete upload."""

Result = TypeVar("Result")


class Directory:
    """The contents in one directory, which is created if it is missing."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = ThreadPool(_THREADS)

    def write(self, upload: Upload, blocks: Iterator[bytes]) -> None:
        """Write the blocks to a file with another name, which gets its own once the disk has all of them."""
        part, complete = self._path / f"{upload.id}{_PART}", self._path / upload.id
        descriptor = self._in_thread(self._create, part)
        try:
            for block in blocks:
                upload.add(len(block))
                self._in_thread(_write_all, descriptor, block)
            self._in_thread(os.fsync, descriptor)
        finally:
            self._in_thread(os.close, descriptor)
        self._in_thread(self._publish, part, complete)

    def read(self, file: StoredFile, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``stop``. Raises ``ContentLost``."""
        try:
            descriptor = self._in_thread(os.open, self._path / file.id, os.O_RDONLY)
        except _NotThere as exc:
            raise ContentLost(file.id) from exc
        try:
            while start < stop:
                block = self._in_thread(os.pread, descriptor, min(BLOCK_BYTES, stop - start), start)
                if not block:
                    raise ContentLost(file.id)
                start += len(block)
                yield block
        finally:
            self._in_thread(os.close, descriptor)

    def delete(self, file_id: str) -> None:
        """Delete the file and what an upload left."""
        for name in (file_id, f"{file_id}{_PART}"):
            with suppress(_NotThere):
                self._in_thread(os.unlink, self._path / name)

    def _create(self, path: Path) -> int:
        self._path.mkdir(parents=True, exist_ok=True)
        # For the owner alone: the files are as secret as the prompts in Redis.
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def _publish(self, part: Path, complete: Path) -> None:
        part.rename(complete)
        directory = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _in_thread(self, call: Callable[..., Result], *args: object) -> Result:
        """The result of the call. Raises ``ContentsUnavailable``; ``_NotThere`` for a missing file."""
        result: Result | OSError = self._threads.apply(_caught, (call, *args))
        if isinstance(result, FileNotFoundError):
            raise _NotThere(f"SPOOL_FILES_URL: {result}") from result
        if isinstance(result, OSError):
            raise ContentsUnavailable(f"SPOOL_FILES_URL: {result}") from result
        return result


def _caught(call: Callable[..., Result], *args: object) -> Result | OSError:
    """The result of the call, or its error: the thread pool writes a raised one to stderr, however common it is."""
    try:
        return call(*args)
    except OSError as exc:
        return exc


class _NotThere(ContentsUnavailable):
    """There is no such file in the directory."""


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
