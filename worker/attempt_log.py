"""The log of one attempt in memory: the job appends to it, and the appender commits it to Redis.

The entries are kept until some seconds after the attempt's end (``worker.ownership``), so that entries that Redis lost
can be resent under the same ids. Only a full buffer makes the job wait for Redis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from gevent.event import Event

from spool.deadline import Deadline
from spool.fail_points import reach
from spool.jobs.claims import SENT_UNKNOWN, Claim
from spool.jobs.entries import Kind, encode, encode_text, rfc3339
from spool.jobs.job import Status

BUFFER_BYTES = 1024 * 1024
"""Limit for the uncommitted entries of one attempt; beyond it the job blocks."""
_NOT_TEXT = (Kind.TOOL_CALL, Kind.RESULT)
_COMMIT_ENTRIES = 1000
_COMMIT_BYTES = 256 * 1024


class AttemptOver(BaseException):
    """Raised in a job's greenlet: this process no longer owns the attempt (``lost``), or it was ``cancelled``.

    A BaseException, so that no backend's ``except Exception`` keeps a cancelled job alive.
    """

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Attempts(Protocol):
    """The attempts of a process, as their logs use them; see ``worker.ownership.OwnedAttempts``."""

    def over(self, attempt_log: AttemptLog, outcome: str) -> None: ...
    def unclaimed(self, attempt_log: AttemptLog) -> None: ...


class AttemptLog:
    """The log of one attempt. ``changed`` is called whenever there are entries to commit. ``attempts``
    interrupt the attempt if it is over for an external reason, and adopt a claim that Redis has lost."""

    def __init__(self, claim: Claim, changed: Callable[[AttemptLog], None], attempts: Attempts) -> None:
        self.job_id = claim.job.id
        self.fence = claim.fence
        self.claim = claim
        self.first = claim.first - 1
        """Id of the attempt's first entry, which the claim wrote."""
        self.acked = self.first
        """Id of the last entry that Redis has."""
        self.sent = self.first
        """Id of the last entry ever sent to Redis, which readers may have seen; ``SENT_UNKNOWN`` once released."""
        self.outcome: str | None = None
        """Why nothing more can be written: ``ended``, ``lost`` or ``cancelled``."""
        self.whole_on = ""
        """The run of Redis that confirmed to a heartbeat that it has the whole log."""
        self._acked_at_beat = -1
        self.plain = True
        self.blocked = False
        """The job is blocked on Redis, so the time does not count against its model."""
        self.unclaimed = False
        """Redis lost the claim; nothing can be written until the claim is adopted again."""
        self._changed = changed
        self._attempts = attempts
        self._entries: list[bytes] = [claim.opening]
        self._texts: list[bytes] = [b""]
        """The bytes that each entry adds to the answer."""
        self._text_at = len(claim.prefix.encode())
        """Offset in the answer, in bytes, of the text of the first uncommitted entry."""
        self._ending = b""
        self._buffered = 0
        self.committing = 0
        """Bytes of the entries in the last ``pending``."""
        self._progress = Event()

    @property
    def ending(self) -> bool:
        """Whether the terminal entry is written, committed or not."""
        return bool(self._ending)

    @property
    def size(self) -> int:
        """Bytes of all its entries."""
        return sum(map(len, self._entries))

    @property
    def last(self) -> int:
        """Id of the newest entry, committed or not."""
        return self.first + len(self._entries) - 1

    def append(self, kind: Kind, fields: Mapping[str, Any]) -> None:
        """Add an entry. Blocks while the buffer is full. Raises ``AttemptOver`` once the attempt is over."""
        if kind in _NOT_TEXT:
            self.plain = False
        # A copy: orjson returns a small entry in a kilobyte of memory.
        self._add(bytes(memoryview(encode(self.last + 1, kind, now_text(), fields))), b"")

    def append_text(self, kind: Kind, text: str, adds: bytes) -> None:
        """Add an entry that holds only text. ``adds`` are the bytes that it adds to the answer."""
        self._add(encode_text(self.first + len(self._entries), kind, now_text(), text), adds)

    def _add(self, entry: bytes, adds: bytes) -> None:
        if self.outcome is not None:
            raise AttemptOver(self.outcome)
        self._entries.append(entry)
        self._texts.append(adds)
        self._buffered += len(entry)
        self._changed(self)
        if self._buffered > BUFFER_BYTES:
            self.blocked = True
            self.flush(Deadline.never(), below=BUFFER_BYTES // 2)
            self.blocked = False

    def end(self, status: Status, kind: Kind, fields: Mapping[str, Any], usage: Mapping[str, Any] | None) -> None:
        """Add the terminal entry and the fields that the job's record keeps."""
        self._ending = orjson.dumps({"status": status.value, "usage": usage, **fields})
        self.append(kind, fields)

    def flush(self, deadline: Deadline, below: int = 1) -> bool:
        """Wait until fewer than ``below`` bytes are uncommitted; False if the deadline passed first. Raises
        ``AttemptOver`` if the attempt is over for another reason than its own end."""
        while self._buffered >= below and self.outcome in (None, "ended"):
            if deadline.passed:
                return False
            self._progress.clear()
            self._progress.wait(deadline.capped_s(1.0))
        if self.outcome not in (None, "ended"):
            raise AttemptOver(str(self.outcome))
        return True

    def wants_beat(self, server: str) -> bool:
        """Whether the next heartbeat must report this attempt. It need not if commits succeed and the run ``server`` of
        Redis has the whole log, because a commit does all the work of a beat. Call it once per beat, from the
        heartbeat's thread."""
        moved, self._acked_at_beat = self.acked != self._acked_at_beat, self.acked
        return not moved or self.whole_on != server

    # The appender's side.

    @property
    def behind(self) -> bool:
        """Whether there are uncommitted entries."""
        return self.outcome is None and self.acked < self.last

    def pending(self) -> list[bytes | str | int] | None:
        """The arguments of ``append.lua`` for the next uncommitted entries, bounded; None if there are none."""
        entries, start = self._entries, self.acked + 1 - self.first
        if start >= len(entries) or self.outcome is not None or self.unclaimed:
            return None
        stop, size = start + 1, len(entries[start])
        while stop < len(entries) and stop - start < _COMMIT_ENTRIES and size < _COMMIT_BYTES:
            size += len(entries[stop])
            stop += 1
        self.committing = size
        self.sent = max(self.sent, self.first + stop - 1)
        ending = self._ending if stop == len(entries) else b""
        if ending:
            reach("finish.gathered")
        return [
            self.job_id,
            self.fence,
            self.acked + 1,
            stop - start,
            ending,
            1 if self.plain else 0,
            self._text_at,
            self._texts[start] if stop == start + 1 else b"".join(self._texts[start:stop]),
            *entries[start:stop],
        ]

    def answered(self, answer: int | bytes) -> None:
        """Handle Redis's answer: the log's last id, or the reason why nothing can be written."""
        if isinstance(answer, int):
            self._moved(answer)
        elif answer == b"unclaimed":
            if self.outcome in (None, "ended") and not self.unclaimed:
                self.unclaimed = True
                self._attempts.unclaimed(self)
        elif answer in (b"lost", b"cancelled"):
            self.over(answer.decode())
        self._progress.set()
        if self.behind:
            self._changed(self)

    def give_up(self) -> None:
        """Release the log. Call it before the hand-back is sent: from then on another worker may append to the log,
        even if the answer is lost."""
        self.sent = SENT_UNKNOWN

    def adopted(self, answer: int | bytes) -> None:
        """Handle the answer to adopting the claim again: the log's last id, or the reason for a refusal."""
        self.unclaimed = False
        self.answered(answer)

    def over(self, outcome: str) -> None:
        """End the attempt for an external reason: it is ``lost`` or ``cancelled``."""
        if self.outcome is None:
            self.outcome = outcome
            self._progress.set()
            self._attempts.over(self, outcome)

    def _moved(self, acked: int) -> None:
        # Forward: committed. Backward: Redis lost its last second, and the entries are resent under the same ids.
        acked = max(self.first, min(acked, self.last))
        start = self.first - 1
        if acked == self.acked + 1:
            # The usual case.
            self._buffered -= len(self._entries[acked - self.first])
            self._text_at += len(self._texts[acked - self.first])
        elif acked > self.acked:
            committed = slice(self.acked - start, acked - start)
            self._buffered -= sum(map(len, self._entries[committed]))
            self._text_at += sum(map(len, self._texts[committed]))
        elif acked < self.acked:
            again = slice(acked - start, self.acked - start)
            self._buffered += sum(map(len, self._entries[again]))
            self._text_at -= sum(map(len, self._texts[again]))
        self.acked = acked
        if self._ending and self.outcome in (None, "ended"):
            # Redis may lose even an end that it had confirmed.
            if acked == self.last:
                reach("finish.answered")
            self.outcome = "ended" if acked == self.last else None


_second: tuple[int, str] = (0, "")
_moment: tuple[int, str] = (0, "")


def now_text() -> str:
    """The current time as RFC 3339 with milliseconds. Formatted once per millisecond, and the part down to the seconds
    once per second."""
    global _moment, _second
    ms = time.time_ns() // 1_000_000
    if _moment[0] == ms:
        return _moment[1]
    seconds, rest = divmod(ms, 1000)
    if _second[0] != seconds:
        _second = (seconds, rfc3339(seconds)[:-4])
    _moment = (ms, f"{_second[1]}{rest:03d}Z")
    return _moment[1]
