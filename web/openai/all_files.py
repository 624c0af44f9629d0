"""The list of all files of an owner: uploads, and the files of batches that have ended, newest first.

A file of a batch stands at the time at which its batch was created, which does not change. So each list is in the order
of one key, and a page begins in both behind the key of its ``after``.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge

from spool.errors import Draining, TooManyStreams
from spool.files.file import StoredFile, created_ms_of, first_id_of
from web.openai.batch_files import BatchFile, Counting, ended_files
from web.openai.batch_resource import batch_of_file
from web.openai.file_document import FileDocument, document
from web.services import State

_AT_FIRST, _AT_MOST = 20, 320
"""Uploads that are read at a time: few, then more for a list that goes on."""


def all_files(services: State, owner: str, *, limit: int, after: str) -> tuple[list[FileDocument], bool]:
    """A page, and whether there are more. Fewer than ``limit`` once bytes of batches' files were counted for a while,
    or where no stream slot for that is free. Raises ``BatchNotFound``, ``StoreUnavailable``; for the first file also
    ``TooManyStreams``, ``Draining``."""
    found, counting = list[FileDocument](), Counting()
    of_batch = batch_of_file(after)
    if of_batch is None:
        uploads = _uploads(services, owner, after)
        cursor = services.batches.cursor_before(created_ms_of(after)) if after else None
        outputs = ended_files(services, owner, cursor)
    else:
        created_ms = services.batches.look(of_batch[0], owner).created_ms
        uploads = _uploads(services, owner, first_id_of(created_ms + 1))
        outputs = ended_files(services, owner, services.batches.cursor_of(of_batch[0], owner), behind=of_batch)
    rows: Iterator[tuple[int, int, BatchFile | StoredFile]] = merge(
        # At equal times, files of batches first.
        ((-each.batch.created_ms, 0, each) for each in outputs),
        ((-created_ms_of(each.id), 1, each) for each in uploads),
        key=lambda row: row[:2],
    )
    for _time, _kind, file in rows:
        if len(found) == limit or (found and counting.is_over):
            return found, True
        try:
            found.append(file.document() if isinstance(file, BatchFile) else document(file))
        except (Draining, TooManyStreams):
            if not found:
                raise
            return found, True
    return found, False


def _uploads(services: State, owner: str, after: str) -> Iterator[StoredFile]:
    count = _AT_FIRST
    while True:
        page = services.files.newest(owner, limit=count, after=after)
        yield from page.files
        if not page.has_more:
            return
        after, count = page.files[-1].id, min(2 * count, _AT_MOST)
