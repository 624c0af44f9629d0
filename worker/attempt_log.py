"""One attempt's entries, from its claim on: what the job adds to, and what the appender commits.

The entries are kept until the attempt is over and somewhat longer (``worker.held``), so that whatever Redis turns out
not to have can be sent again under the same ids. Nothing here waits for Redis but a full buffer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from gevent.event import Event

from spool.deadline import Deadline
from spool.fail_points import reach
from spool.jobs.claims import SENT_UNKNOWN, Claim
from spool.jobs.entries import Kind, encode, encode_text, rfc3339
from spool.jobs.job import Status

BUFFER_BYTES = 1024 * 1024
"""How much of one attempt may wait for Redis; beyond it the job waits too."""
_COMMIT_ENTRIES = 1000
_COMMIT_BYTES = 256 * 1024


class AttemptOver(BaseException):
    """Thrown into a job's greenlet: the attempt is no longer ours (``lost``) or was ``cancelled``.

    A BaseException, so that no backend's ``except Exception`` keeps a cancelled job alive.
    """

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class AttemptLog:
    """The log of one attempt as its job writes it. ``changed`` is called whenever there is something to commit."""

    def __init__(self, claim: Claim, changed: Callable[[AttemptLog], None]) -> None:
        self.job_id = claim.job.id
        self.fence = claim.fence
        self.claim = claim
        self.first = claim.first - 1
        """Id of the attempt's first entry, which the claim wrote."""
        self.acked = self.first
        """Id of the last entry that Redis has."""
        self.sent = self.first
        """Id of the last entry that Redis was ever sent, and readers may have seen; ``SENT_UNKNOWN`` once given up."""
        self.outcome: str | None = None
        """Why nothing more can be written: ``ended``, ``lost`` or ``cancelled``."""
        self.whole_on = ""
        """The run of Redis on which a heartbeat was told that nothing of the log is missing."""
        self._acked_at_beat = -1
        self.plain = True
        self.blocked = False
        """The job waits because Redis does not take what it has: that is no fault of its model's."""
        self.unclaimed = False
        """Redis lost the claim; nothing can be written until it is adopted again."""
        self._changed = changed
        self._entries: list[bytes] = [claim.opening]
        self._texts: list[bytes] = [b""]
        """What each entry adds to the answer."""
        self._text_at = len(claim.prefix.encode())
        """Where in the answer's bytes the text of the first entry begins that Redis does not have."""
        self._ending = b""
        self._buffered = 0
        self.committing = 0
        """Bytes of entries in the last ``pending``."""
        self._progress = Event()
        self.on_over: Callable[[str], None] = lambda _outcome: None
        self.on_unclaimed: Callable[[AttemptLog], None] = lambda _log: None

    @property
    def ending(self) -> bool:
        """The terminal entry is written, whether or not Redis has it yet."""
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
        """Add an entry. Waits while the buffer is full. Raises ``AttemptOver`` once the attempt is."""
        if kind is Kind.TOOL_CALL:
            self.plain = False
        # A copy: what orjson returns is a little entry in a kilobyte of memory.
        self._add(bytes(memoryview(encode(self.last + 1, kind, now_text(), fields))), b"")

    def append_text(self, kind: Kind, text: str, adds: bytes) -> None:
        """The same for an entry that is all text. ``adds`` is what it adds to the answer."""
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
        """Add the terminal entry and what the record keeps of it."""
        self._ending = orjson.dumps({"status": status.value, "usage": usage, **fields})
        self.append(kind, fields)

    def flush(self, deadline: Deadline, below: int = 1) -> bool:
        """Wait until less than ``below`` bytes wait for Redis; False if the deadline came first. Raises
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
        """Whether the next heartbeat has to speak for it. Not while Redis goes on taking its entries, on a run
        ``server`` on which the log is whole: a commit does all that a beat would. To be asked once for each beat, from
        its thread."""
        moved, self._acked_at_beat = self.acked != self._acked_at_beat, self.acked
        return not moved or self.whole_on != server

    # The appender's side.

    @property
    def behind(self) -> bool:
        """Whether there is something that Redis does not have yet."""
        return self.outcome is None and self.acked < self.last

    def pending(self) -> list[bytes | str | int] | None:
        """The arguments of ``append.lua`` for what Redis does not have yet, bounded; None if it has everything."""
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
        """What Redis said: the log's last id, or why nothing can be written (any more)."""
        if isinstance(answer, int):
            self._moved(answer)
        elif answer == b"unclaimed":
            if self.outcome in (None, "ended") and not self.unclaimed:
                self.unclaimed = True
                self.on_unclaimed(self)
        elif answer in (b"lost", b"cancelled"):
            self.over(answer.decode())
        self._progress.set()

    def give_up(self) -> None:
        """The job is about to be handed back. Before Redis is asked to: from then on somebody else may write behind
        these entries, whether or not the answer comes."""
        self.sent = SENT_UNKNOWN

    def adopted(self, answer: int | bytes) -> None:
        """What came of adopting the claim again: the log's last id, or why not."""
        self.unclaimed = False
        self.answered(answer)

    def forget_job(self) -> None:
        """Nobody runs it any more. Its job's greenlet holds the log and is held by it: they would stay until Python
        looks for cycles, which a quiet process does rarely."""
        self.on_over = lambda _outcome: None

    def over(self, outcome: str) -> None:
        """The attempt is over for a reason from outside; whoever runs it is told."""
        if self.outcome is None:
            self.outcome = outcome
            self._progress.set()
            self.on_over(outcome)

    def _moved(self, acked: int) -> None:
        # Forward: committed. Backward: Redis lost its last second, and gets it again under the same ids.
        acked = max(self.first, min(acked, self.last))
        start = self.first - 1
        if acked == self.acked + 1:
            # Nearly always.
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
            # Even an end that Redis had confirmed can be among what it lost.
            if acked == self.last:
                reach("finish.answered")
            self.outcome = "ended" if acked == self.last else None


_second: tuple[int, str] = (0, "")
_moment: tuple[int, str] = (0, "")


def now_text() -> str:
    """This moment as RFC 3339 with milliseconds. Made once a millisecond, and the part down to the second once a
    second."""
    global _moment, _second
    ms = time.time_ns() // 1_000_000
    if _moment[0] == ms:
        return _moment[1]
    seconds, rest = divmod(ms, 1000)
    if _second[0] != seconds:
        _second = (seconds, rfc3339(seconds)[:-4])
    _moment = (ms, f"{_second[1]}{rest:03d}Z")
    return _moment[1]
