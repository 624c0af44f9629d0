"""The output and the error file of a batch as files. They are the batch's log, and can be read while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from spool.batches.batch import Batch
from spool.errors import BatchNotFound, FileNotFound
from spool.redis.errors import unless_refused
from web.openai.batch_output import file_lines
from web.openai.batch_resource import ERRORS, OUTPUT, batch_of_file, file_id_of, has_file
from web.openai.file_document import FileDocument
from web.services import State

_BLOCK_BYTES = 64 * 1024
BATCH_OUTPUT = "batch_output"
"""The purpose of the files of batches."""
_BATCHES_AT_ONCE = 50
_COUNTING_S = 2.0
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class BatchFile:
    """One of the files of a batch. ``kind`` is OUTPUT or ERRORS."""

    services: State
    batch: Batch
    kind: str

    @property
    def filename(self) -> str:
        """Its name as a download."""
        return f"batch_{'output' if self.kind == OUTPUT else 'error'}_{self.batch.id}.jsonl"

    def content(self) -> Iterator[bytes]:
        """The lines that have ended, in blocks. Raises ``StoreUnavailable``."""
        gathered, size = list[bytes](), 0
        for line in file_lines(self.services, self.batch, self.kind):
            gathered.append(line)
            size += len(line)
            if size >= _BLOCK_BYTES:
                block = b"".join(gathered)
                # Nothing but the block is held while a slow client takes it.
                gathered, size = [], 0
                del line
                yield block
        if gathered:
            yield b"".join(gathered)

    def size(self) -> int:
        """Its bytes. They are counted once, which costs as much as its content and takes a stream slot; until the
        batch has ended, each time. Raises ``StoreUnavailable``, ``TooManyStreams``."""
        kept = self.batch.sizes.get(self.kind)
        if kept is not None:
            return kept
        if not has_file(self.batch, self.kind):
            return 0
        self.services.refuse_streams(self.batch.owner)
        with self.services.slots.one(self.batch.owner):
            size = sum(map(len, self.content()))
        if self.batch.is_ended:
            with unless_refused():
                self.services.batches.note_size(self.batch.id, self.kind, size)
        return size

    def document(self) -> FileDocument:
        """The file as OpenAI's object. Raises as ``size`` does."""
        batch = self.batch
        return {
            "id": file_id_of(batch.id, self.kind),
            "object": "file",
            "bytes": self.size(),
            "created_at": (batch.ended_ms or batch.created_ms) // 1000,
            "expires_at": batch.ended_ms // 1000 + batch.ttl_s if batch.ended_ms and batch.ttl_s else None,
            "filename": self.filename,
            "purpose": BATCH_OUTPUT,
            "status": "processed",
            "status_details": None,
        }


class Counting:
    """The time in which a list may count the bytes of files."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + _COUNTING_S

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return self._clock() > self._until


def ended_files(
    services: State, owner: str, cursor: str | None, behind: tuple[str, str] | None = None
) -> Iterator[BatchFile]:
    """The files of the owner's ended batches from a cursor of the list of batches, newest batch first. ``behind``: the
    file before the first one, by its batch and kind. Raises ``BatchNotFound``, ``StoreUnavailable``."""
    if behind and behind[1] == OUTPUT:
        batch = services.batches.look(behind[0], owner)
        if has_file(batch, ERRORS):
            yield BatchFile(services, batch, ERRORS)
    while True:
        page, cursor = services.batches.newest(owner, limit=_BATCHES_AT_ONCE, cursor=cursor)
        for batch in page:
            for kind in (OUTPUT, ERRORS):
                if batch.is_ended and batch.has_log and has_file(batch, kind):
                    yield BatchFile(services, batch, kind)
        if cursor is None:
            return


def files_of_batches(
    services: State, owner: str, *, limit: int, after: str, clock: Clock = time.monotonic
) -> tuple[list[FileDocument], bool]:
    """The files of the owner's ended batches, newest batch first, behind the file ``after``, and whether there are
    more. Fewer than ``limit`` once it has counted bytes for a while. Raises ``BatchNotFound``, and as ``size`` does."""
    found, counting = list[FileDocument](), Counting(clock)
    last = batch_of_file(after)
    cursor = services.batches.cursor_of(last[0], owner) if last else None
    for file in ended_files(services, owner, cursor, last):
        if len(found) == limit or (found and counting.is_over):
            return found, True
        found.append(file.document())
    return found, False


def batch_file(services: State, file_id: str, owner: str) -> BatchFile | None:
    """The file of a batch with this id; None if it is not the id of one. Raises ``FileNotFound``."""
    found = batch_of_file(file_id)
    if found is None:
        return None
    try:
        return BatchFile(services, services.batches.look(found[0], owner), found[1])
    except BatchNotFound as exc:
        raise FileNotFound(file_id) from exc
