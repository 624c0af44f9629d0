"""What one reader of the crowd has seen so far, and how one of its connections ended."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.faults.wire import Malformed

_HEAD = re.compile(rb'\{"id":(\d+),"kind":"(\w+)","at":"')
_TERMINAL = (b"done", b"failed", b"cancelled")


@dataclass(frozen=True, slots=True)
class Turn:
    """How a connection ended, and what the reader does: come back after ``pause_s``, to the next web, unless it is
    ``over``. ``error``: why no client would have expected it."""

    why: str
    pause_s: float = 0.02
    error: str = ""
    over: bool = False


@dataclass(eq=False)
class Following:
    """One reader. Written by the crowd's thread; whole once ``finished``.

    Of bare text (``transport`` "text") there are no entries, but ``text``, and ``ended`` says that it ended whole.
    """

    job: str
    transport: str
    after: int
    raw: list[bytes] = field(default_factory=list)
    """The entries' bytes, in the order of arrival."""
    ids: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each entry arrived, monotonic."""
    text: bytearray = field(default_factory=bytearray)
    turns: list[str] = field(default_factory=list)
    """Why each connection ended, in order."""
    errors: list[str] = field(default_factory=list)
    """What a client that honours ``reconnect``, EOF, ``unavailable`` and Retry-After would not expect."""
    gaps: list[dict[str, object]] = field(default_factory=list)
    """What the server announced as missing. Each is an error as well, unless the reader was told to expect gaps."""
    queued: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """The ``queued`` messages, each with the number of the connection on which it came."""
    notices: list[str | None] = field(default_factory=list)
    """The texts of the ``notice`` messages."""
    cursor: int = 0
    """The id of the last entry it has, from which it resumes."""
    kind: bytes = b""
    """The kind of the last entry."""
    left: bool = False
    """It was told to leave, or reached the number of entries after which it was to."""
    ended: bool = False
    """It has the terminal entry."""
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.cursor = self.after

    @property
    def finished(self) -> bool:
        """It reads no more: it reached the end, left, or gave up."""
        return self.done.is_set()

    @property
    def reconnects(self) -> int:
        """How often it had to come back. A poll that just brought nothing new does not count."""
        return sum(why not in ("ended", "poll") for why in self.turns)

    @property
    def longest_gap_s(self) -> float:
        """The longest time between two entries."""
        return max((b - a for a, b in zip(self.times, self.times[1:], strict=False)), default=0.0)

    def take(self, raw: bytes) -> None:
        """One entry came."""
        head = _HEAD.match(raw)
        if head is None:
            raise Malformed(f"entry {raw[:80]!r}")
        self.raw.append(raw)
        self.cursor = int(head[1])
        self.ids.append(self.cursor)
        self.times.append(time.monotonic())
        self.kind = head[2]
        self.ended = self.ended or self.kind in _TERMINAL

    def tell(self, message: dict[str, Any]) -> None:
        """A ``queued`` or ``notice`` message came."""
        if message.get("type") == "notice":
            self.notices.append(message["text"])
            return
        self.queued.append((len(self.turns), message))

    def wait(self, within_s: float = 60.0) -> Following:
        """Until it reads no more; fails with where it stands."""
        if not self.done.wait(within_s):
            raise AssertionError(f"not within {within_s:g} s: {self}")
        return self

    def __str__(self) -> str:
        state = "ended" if self.ended else "left" if self.left else "over" if self.finished else "reading"
        seen = f"{len(self.text)} bytes" if self.transport == "text" else f"{len(self.ids)} entries to {self.cursor}"
        last = ", ".join(self.turns[-5:])
        return (
            f"{self.transport} reader of {self.job} after {self.after}: {state}, {seen}, turns: {last}, {self.errors}"
        )
