"""What living workers know of their attempts. It does not go back in time when Redis does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from spool.jobs.claims import SENT_UNKNOWN, Claim, Held
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Status
from tests.by_hand import AT


@dataclass
class Hand:
    """One attempt in its worker's hands: its entries from the opening on, and how many of them Redis has confirmed."""

    worker: str
    fence: str
    claim: Claim | None = None
    """None while the claim's answer is lost."""
    entries: list[bytes] = field(default_factory=list)
    acked: int = 0
    sent: int = 0
    """Id of the last entry that Redis was ever sent; ``SENT_UNKNOWN`` once it was to be handed back."""
    asked_for: tuple[Any, ...] = ()
    """What to ask again, while the answer is lost."""
    ending: Status | None = None
    over: bool = False
    """Its worker was told that the attempt is not its own any more."""
    unclaimed: bool = False
    whole_on: str = ""
    """The run of Redis on which a heartbeat was told that its log is whole."""
    acked_at_beat: int = -1

    def know(self, claim: Claim) -> None:
        """The claim's answer has arrived."""
        self.claim = claim
        self.entries = [claim.opening]
        self.acked = self.sent = self.first

    @property
    def job_id(self) -> str:
        assert self.claim is not None
        return self.claim.job.id

    @property
    def first(self) -> int:
        """Id of the attempt's first entry."""
        assert self.claim is not None
        return self.claim.first - 1

    @property
    def last(self) -> int:
        """Id of the newest entry."""
        return self.first + len(self.entries) - 1

    @property
    def holds(self) -> bool:
        """Whether it believes that it has a job."""
        return self.claim is not None and not self.over

    @property
    def gave_up(self) -> bool:
        """It was handed back, lost or cancelled: on another run of Redis its worker asks whether it is known there."""
        return self.claim is not None and self.over

    def as_given_up(self) -> Held:
        """What its worker asks then."""
        return Held(self.job_id, self.fence, 0, SENT_UNKNOWN)

    def wants_beat(self, server: str) -> bool:
        """Whether the next heartbeat has to speak for it: not where Redis has taken entries since the last one."""
        moved, self.acked_at_beat = self.acked != self.acked_at_beat, self.acked
        return not moved or self.whole_on != server

    def make(self, kind: Kind, text: str) -> None:
        """One more entry. Its text tells attempts apart, so that no two of them can be taken for one another."""
        fields = {
            Kind.TOKEN: {"text": f"{self.fence[-3:]}.{self.last + 1}{text} "},
            Kind.TOOL_CALL: {"index": 0, "call_id": "c", "name": "n", "arguments": text},
            Kind.DONE: {"finish_reason": "stop"},
            Kind.FAILED: {"error": {"code": "upstream", "message": self.fence, "retryable": True}},
        }[kind]
        self.entries.append(Entry(self.last + 1, kind, AT, fields).encode())

    def end(self, status: Status) -> None:
        """The terminal entry."""
        self.make(Kind.DONE if status is Status.SUCCEEDED else Kind.FAILED, "")
        self.ending = status

    def commit(self, first: int, count: int = 1000) -> list[object]:
        """The arguments of append.lua for so many entries from ``first``."""
        part = self.entries[first - self.first :][:count]
        decoded = [Entry.decode(raw) for raw in part]
        assert self.claim is not None
        before = self.claim.prefix + text_of(self.entries[: first - self.first])
        plain = not any(Entry.decode(raw).kind is Kind.TOOL_CALL for raw in self.entries)
        ending = b""
        if self.ending and part and first + len(part) - 1 == self.last:
            ending = orjson.dumps({"status": self.ending.value, "usage": None, **decoded[-1].fields})
        head = [self.job_id, self.fence, first, len(part), ending, int(plain), len(before.encode()), text_of(part)]
        return [*head, *part]


def text_of(entries: list[bytes]) -> str:
    """What these entries add to the answer."""
    decoded = [Entry.decode(raw) for raw in entries]
    return "".join(entry.fields["text"] for entry in decoded if entry.kind is Kind.TOKEN)
