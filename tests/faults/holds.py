"""Held jobs of a stack: before their ``not_before``, or in conversations; and what must hold of them in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from tests.faults.checker import PREFIX
from tests.faults.following import Following
from tests.faults.jobs import Jobs
from tests.stack import Stack

_SILENT = ("text", "long_polling", "short_polling")
"""Transports without ``queued`` messages: bare text, and polls, which tell it only if they have no entry to answer."""


def shown(moment: datetime) -> str:
    """A time as entries and documents show it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class HeldJobs:
    """``later``: jobs and their ``not_before``; ``turns``: the jobs of each conversation, in the order of submit."""

    jobs: Jobs
    later: dict[str, datetime] = field(default_factory=dict)
    turns: list[list[str]] = field(default_factory=list)

    def submit_later(self, count: int, first_s: float, every_s: float, **params: Any) -> None:
        """So many jobs that may begin one after the other."""
        now = datetime.now(UTC)
        for number in range(count):
            moment = now + timedelta(seconds=first_s + number * every_s)
            moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
            job = self.jobs.submit(f"later {number}", fields={"not_before": moment.isoformat()}, **params)
            self.later[job] = moment

    def submit_turns(self, conversations: int, turns: int, **params: Any) -> None:
        """So many conversations, whose jobs all wait for each other."""
        self.turns = [
            [
                self.jobs.submit(f"turn {number}.{at}", fields={"conversation": {"id": f"c{number}"}}, **params)
                for at in range(turns)
            ]
            for number in range(conversations)
        ]

    @property
    def all(self) -> list[str]:
        """Every job."""
        return [*self.later, *(job for turns in self.turns for job in turns)]

    def ended(self) -> int:
        """How many have succeeded."""
        return self.jobs.fields(self.all, "status").count("succeeded")

    def early(self) -> list[str]:
        """Those that began before their ``not_before``."""
        begun = {job: self.jobs.log(job)[0]["at"] for job in self.later}
        return [f"{job} began at {begun[job]}" for job, due in self.later.items() if begun[job] < shown(due)]

    def out_of_turn(self) -> list[str]:
        """Those that began before the earlier job of their conversation had ended."""
        logs = {job: self.jobs.log(job) for turns in self.turns for job in turns}
        both = [(a, b) for turns in self.turns for a, b in pairwise(turns)]
        return [f"{b} began before {a} had ended" for a, b in both if logs[b][0]["at"] < logs[a][-1]["at"]]

    def wrongly_told(self, readers: Sequence[Following]) -> list[str]:
        """What readers of these jobs were told wrongly, twice, or not at all."""
        return [f"{wrong} ({reader})" for reader in readers for wrong in self._wrong(reader)]

    def _wrong(self, reader: Following) -> Iterator[str]:
        before = next((turns[: turns.index(reader.job)] for turns in self.turns if reader.job in turns), [])
        due = self.later.get(reader.job)
        # The turns before may be over before the queue is looked at.
        if not reader.queued and reader.transport not in _SILENT and (due or len(before) > 2):
            yield "was not told why its job waits"
        for (turn, one), (its_turn, another) in pairwise(reader.queued):
            if turn == its_turn and one == another and "polling" not in reader.transport:
                yield f"was told twice: {one}"
        for _turn, message in reader.queued:
            reason = message["waiting_for"]
            if reason["reason"] == "not_before":
                if due is None or reason["until"] != shown(due):
                    yield f"was told {message} before {due}"
            elif reason["reason"] == "conversation" and reason["job"] not in before:
                yield f"was told {message} after {before}"


def hold_keys(stack: Stack) -> list[str]:
    """The keys that hold jobs."""
    link = stack.redis.link
    found = [*link.call("KEYS", "spool:*scheduled"), *link.call("KEYS", "spool:*turns:*")]
    return [key.decode().removeprefix(PREFIX) for key in found]
