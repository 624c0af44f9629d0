"""Files: created from streams, read in ranges, deleted, and swept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from spool.errors import ContentElsewhere, FileNotFound, StoreUnavailable
from spool.files.contents import Contents, in_blocks
from spool.files.file import Description, StoredFile
from spool.files.records import FilePage, FileRecords

log = logging.getLogger("spool")

_SWEPT_AT_ONCE = 20
_FAILURES_AT_MOST = 5
"""Failures after which a sweep leaves a store alone: each may have waited for the store's time limit."""


class Files:
    """The files of all owners. New ones go to ``contents``; ``others`` may have older ones. Every call may raise
    ``StoreUnavailable``."""

    def __init__(self, records: FileRecords, contents: Contents, others: Iterable[Contents] = ()) -> None:
        self._records = records
        self._contents = contents
        self._places = {each.name: each for each in (*others, contents)}

    def create(self, owner: str, pieces: Iterable[bytes], describe: Callable[[], Description]) -> StoredFile:
        """Store a file while its bytes arrive, then ask for its description, which may have come behind them. After an
        error of either, nothing is left. Raises ``FilesFull``, ``OwnerFilesFull``, ``UploadExpired``."""
        upload, sizes = self._records.begin(owner, self._contents.name), list[int]()
        try:
            self._contents.write(upload, in_blocks(pieces, sizes.append))
            upload.complete(sum(sizes), describe())
        except BaseException:
            # If Redis does not answer, the sweep does it later.
            with suppress(StoreUnavailable):
                # A sweep may have deleted the record and the content before the last of it was written.
                if not self._remove(upload.id):
                    self._contents.delete(upload.id)
            raise
        return self._records.get(upload.id, owner)

    def get(self, file_id: str, owner: str) -> StoredFile:
        """A file of this owner. Raises ``FileNotFound``, ``UndecodableRecord``."""
        return self._records.get(file_id, owner)

    def newest(
        self, owner: str, *, limit: int, after: str = "", oldest_first: bool = False, purpose: str = ""
    ) -> FilePage:
        """A page of the owner's files, newest first, behind the file ``after``, which may be deleted by now."""
        return self._records.newest(owner, limit=limit, after=after, oldest_first=oldest_first, purpose=purpose)

    def read(self, file: StoredFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of a file from ``start`` to before ``stop``, in blocks. Raises ``ContentLost``; at once
        ``ContentElsewhere``."""
        place = self._places.get(file.place)
        if place is None:
            raise ContentElsewhere(file.id, file.place)
        return place.read(file, start, file.size if stop is None else min(stop, file.size))

    def delete(self, file_id: str, owner: str) -> None:
        """Delete a file of this owner. Raises ``FileNotFound``."""
        if not self._remove(file_id, owner):
            raise FileNotFound(file_id)

    def sweep(self) -> int:
        """Delete expired files, and what is left of uploads and deletions that did not end. Returns how many. A file
        whose store does not answer is left for a later sweep, and does not hold up those of other stores."""
        count, failures = 0, Counter[str]()
        while due := self._records.due(_SWEPT_AT_ONCE):
            for file_id in due:
                place = self._records.hide(file_id, only_due=True)
                if place is None or failures[place] >= _FAILURES_AT_MOST:
                    continue
                try:
                    self._purge(file_id, place)
                    count += 1
                except StoreUnavailable as exc:
                    log.warning("%s could not be deleted: %s", file_id, exc)
                    failures[place] += 1
        return count

    def _remove(self, file_id: str, owner: str = "") -> bool:
        place = self._records.hide(file_id, owner)
        if place is not None:
            self._purge(file_id, place)
        return place is not None

    def _purge(self, file_id: str, place: str) -> None:
        """Delete a hidden file's content, then its record."""
        if place in self._places:
            self._places[place].delete(file_id)
        else:
            log.warning("the content of %s is left in %s:, which SPOOL_FILES_URL no longer names", file_id, place)
        self._records.forget(file_id)
