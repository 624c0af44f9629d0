"""The list of an owner's batches, newest first: all of them, or those that are wanted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from spool.batches.batch import Batch, BatchState, decode
from spool.errors import UndecodableRecord
from spool.jobs.batch_list import created_ms_of, cursor_before, newest_batches
from spool.jobs.shards import Shards

EXAMINED_AT_MOST = 500
"""The batches that one page of a filtered list examines; then it ends, with a cursor."""
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class WantedBatches:
    """Which batches a list shows: those in this state, with this metadata (a name, or a name and its value), created
    from ``after_ms`` to before ``before_ms``, where they are given."""

    state: BatchState | None = None
    metadata: tuple[str] | tuple[str, str] | None = None
    after_ms: int | None = None
    before_ms: int | None = None

    @property
    def is_all(self) -> bool:
        """Whether every batch matches."""
        return self == WantedBatches()

    def matches(self, batch: Batch) -> bool:
        """Whether the list shows this batch."""
        return (
            self.state in (None, batch.state)
            and (self.before_ms is None or batch.created_ms < self.before_ms)
            and (self.after_ms is None or batch.created_ms >= self.after_ms)
            and self._has_metadata(batch)
        )

    def _has_metadata(self, batch: Batch) -> bool:
        if self.metadata is None:
            return True
        name, *value = self.metadata
        return name in batch.metadata and (not value or batch.metadata[name] == value[0])


ALL = WantedBatches()


def newest(
    shards: Shards,
    owner: str,
    wanted: WantedBatches,
    *,
    limit: int,
    cursor: str | None,
    note: Callable[[Batch], None],
    at_once: int = _AT_ONCE,
    most: int = EXAMINED_AT_MOST,
) -> tuple[list[Batch], str | None]:
    """At most ``limit`` wanted batches and the cursor of the next page; ``note`` gets each that was read. Damaged ones
    are left out. At most ``most`` are examined, so a page of a filtered list may have fewer, or none, and a cursor.
    Raises ``StoreUnavailable``."""
    found, examined = list[Batch](), 0
    if wanted.before_ms is not None:
        start = cursor_before(wanted.before_ms, len(shards))
        cursor = start if cursor is None else min(cursor, start, key=int)
    while True:
        page = newest_batches(shards, owner, limit=limit if wanted.is_all else at_once, cursor=cursor)
        for batch_id, record in page.batches.items():
            cursor = page.cursors[batch_id]
            if wanted.after_ms is not None and created_ms_of(cursor, len(shards)) < wanted.after_ms:
                return found, None
            with suppress(UndecodableRecord):
                batch = decode(batch_id, record)
                note(batch)
                if wanted.matches(batch):
                    found.append(batch)
            if len(found) == limit and not wanted.is_all:
                return found, cursor
        examined += at_once
        if wanted.is_all or page.cursor is None or examined >= most:
            return found, page.cursor
        cursor = page.cursor
