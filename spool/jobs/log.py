"""Reads a job's log by pages and from any cursor, from its stream or its packed form; reports gaps instead of skipping
them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spool.errors import UndecodableRecord
from spool.jobs import packing
from spool.jobs.entries import Kind, decode_all, is_mark, kind_of
from spool.jobs.packed_log import PackedLogs
from spool.jobs.seen_batches import SeenBatches
from spool.keys import EVENTS
from spool.keys import job as job_key
from spool.keys import log as log_key
from spool.redis.errors import is_wrong_type, translated
from spool.redis.link import RedisLink

PAGE = 500
"""Entries in one XRANGE: large enough for a cheap replay, small enough not to delay other callers."""
BATCH_PAGE = 32
"""An entry of a batch's log is a whole answer, and an event is a whole record, so a page of these is smaller."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing entries.

    The reader asked for ``requested``. The entries ``earliest`` to ``latest`` can still be read (both None if none
    can). ``before`` is the cursor to continue from: just before ``earliest``, or the log's last id if none is left.
    """

    requested: int
    earliest: int | None
    latest: int | None
    before: int

    def public(self) -> dict[str, int | None]:
        """The gap as the API shows it."""
        return {"requested": self.requested, "earliest": self.earliest, "latest": self.latest}


_HEAD, _KIND = b'{"id":', b',"kind":"'
"""Found in every encoded entry; see ``spool.jobs.entries``."""

Row = packing.Row
"""An entry's id and its encoded bytes."""

_TEXTS = frozenset({Kind.TOKEN, Kind.REASONING})


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive entries of one text kind: ``count`` entries up to the id ``last``, and their joined text."""

    kind: Kind
    count: int
    last: int
    text: str


def run_of(rows: Sequence[Row]) -> Run | None:
    """The rows as one run; None if their kinds differ, or add no text, or more than text. Raises
    ``UndecodableRecord``."""
    entries = decode_all([raw for _entry_id, raw in rows])
    try:
        kinds = {entry["kind"] for entry in entries}
        if len(kinds) != 1 or not kinds <= _TEXTS or any(map(is_mark, entries)):
            return None
        return Run(Kind(kinds.pop()), len(rows), rows[-1][0], "".join([entry["text"] for entry in entries]))
    except (KeyError, TypeError) as exc:
        raise UndecodableRecord("entries", rows) from exc


def page_of(log_id: str) -> int:
    """How many entries of a log are read at a time: of a job's, or of a batch's or an owner's events."""
    return PAGE if log_id[0] == "j" else BATCH_PAGE


def range_command(job_id: str, after: int, count: int) -> tuple[object, ...]:
    """The Redis command that reads at most ``count`` entries after ``after``."""
    return ("XRANGE", log_key(job_id), f"({after}-0", "+", "COUNT", count)


def rows_of(reply: Sequence[Sequence[bytes | Sequence[bytes]]]) -> list[Row]:
    """The ids and encoded entries in a reply of XRANGE. Anything that is not an entry is skipped, and leaves a gap."""
    return [
        (int(entry_id[:-2]), fields[1])  # type: ignore[misc,arg-type]
        for entry_id, fields in reply
        if entry_id[-2:] == b"-0" and fields[1].startswith(_HEAD) and _KIND in fields[1]  # type: ignore[operator,union-attr]
    ]


class Logs:
    """The logs of a server, read from their streams or, some time after their end, from their packed form. ``seen``
    notes what is read of batches. ``is_alone``: for one reader, so no more than a block is kept."""

    def __init__(self, link: RedisLink, seen: SeenBatches | None = None, *, is_alone: bool = False) -> None:
        self._link = link
        self._packed = PackedLogs(link, kept_bytes=0) if is_alone else PackedLogs(link)
        self._seen = seen

    def read(self, job_id: str, after: int, limit: int = PAGE, *, is_packed: bool = False) -> list[Row]:
        """At most ``limit`` entries after ``after``, in order. ``is_packed``: the log was packed when its record was
        read, so its stream need not be tried first. Raises ``StoreUnavailable``."""
        if is_packed or self._packed.is_known(job_id):
            rows = self._packed.read(job_id, after, limit)
            if rows is not None:
                return rows
        (reply,) = self._link.pipeline_each([range_command(job_id, after, limit)])
        return self.rows_of(reply, job_id, after, limit)

    def rows_of(self, reply: Any, job_id: str, after: int, limit: int) -> list[Row]:
        """The entries in a reply to ``range_command``, which may be an exception; read from the packed log if it is
        packed by now. Raises ``StoreUnavailable``."""
        if not isinstance(reply, Exception):
            found = rows_of(reply)
            if found and self._seen is not None:
                self._seen.note(job_id, found[-1][0])
            return self._with_records(job_id, found) if found and job_id.startswith(EVENTS) else found
        rows = self.read_packed(job_id, after, limit) if is_wrong_type(reply) else None
        if rows is None:
            raise translated(reply) from reply
        return rows

    def _with_records(self, log_id: str, rows: Sequence[Row]) -> list[Row]:
        """Events with their records, which are stored beside them, as they were published. The records of what has been
        deleted are missing."""
        command = ("HMGET", f"{job_key(log_id)}:records", *(entry_id for entry_id, _raw in rows))
        (records,) = self._link.pipeline_each([command])
        if isinstance(records, Exception):
            raise translated(records) from records
        return [
            (entry_id, b'%b,"record":%b}' % (raw[:-1], found.partition(b" ")[2]) if found else raw)
            for (entry_id, raw), found in zip(rows, records, strict=True)
        ]

    def read_packed(self, job_id: str, after: int, limit: int) -> list[Row] | None:
        """The same from the packed log alone; None if there is none. Raises ``StoreUnavailable``."""
        return self._packed.read(job_id, after, limit)

    def before_last(self, job_id: str, count: int) -> int:
        """The cursor before the last ``count`` entries, or before the first. Raises ``StoreUnavailable``."""
        (reply,) = self._link.pipeline_each([("XREVRANGE", log_key(job_id), "+", "-", "COUNT", count + 1)])
        if isinstance(reply, Exception):
            cursor = self._packed.before_last(job_id, count) if is_wrong_type(reply) else None
            if cursor is None:
                raise translated(reply) from reply
            return cursor
        return _before_last(rows_of(reply), count)

    def drop_old(self) -> None:
        """Drop what was read too long ago to use. Call it regularly."""
        self._packed.drop_old()


def _before_last(rows: Sequence[Row], count: int) -> int:
    if len(rows) > count:
        return rows[count][0]
    return rows[-1][0] - 1 if rows else 0


def gap_before(rows: Sequence[Row], after: int, last: int) -> Gap | None:
    """The gap between ``after`` and the first of ``rows``, in a log with the last id ``last``; None without one.

    A jump to a ``restarted`` is not a gap: that entry reports that Redis lost history.
    """
    if rows:
        first, raw = rows[0]
        if first > after + 1 and kind_of(raw) != b"restarted":
            return Gap(after + 1, first, last, first - 1)
        return None
    return Gap(after + 1, None, None, last) if last > after else None
