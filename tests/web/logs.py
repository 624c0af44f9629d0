"""Logs in memory behind the follower's interface, for what reads whole logs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import gevent
from gevent.event import Event

from spool.following.feed import Feed
from spool.following.reader import Reader
from spool.following.replay_cache import ReplayCache
from spool.jobs import log as stored
from spool.jobs.entries import Entry, Kind, is_terminal
from spool.jobs.job import Job, Status
from tests.by_hand import AT

JOB = "j0-" + "0" * 26


class Logs:
    """A link to a Redis in which every job has the same log. ``asked`` are the jobs of its answers; ``ids`` are the
    entries' if they are not 1, 2, 3 and so on."""

    def __init__(self, entries: Sequence[tuple[Kind, dict[str, Any]]], ids: Sequence[int] = ()) -> None:
        numbered = zip(ids or range(1, len(entries) + 1), entries, strict=True)
        self.rows = [(n, Entry(n, kind, AT, fields).encode()) for n, (kind, fields) in numbered]
        self.asked: list[str] = []
        self.may_answer = Event()
        self.may_answer.set()

    @property
    def entries(self) -> list[bytes]:
        """The encoded entries."""
        return [raw for _entry_id, raw in self.rows]

    @property
    def last(self) -> int:
        """The id of the last entry."""
        return self.rows[-1][0]

    def call(self, *command: Any) -> list[tuple[bytes, tuple[bytes, bytes]]]:
        """XRANGE."""
        self.asked.append(command[1].split(":")[3])
        self.may_answer.wait()
        gevent.sleep(0)
        after, count = int(command[2][1:-2]), command[5]
        first = bisect_right(self.rows, after, key=lambda row: row[0])
        return [(b"%d-0" % entry_id, (b"entry", raw)) for entry_id, raw in self.rows[first : first + count]]

    def pipeline_each(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The reply to each command."""
        return [self.call(*command) for command in commands]


class Followed:
    """A follower of these logs. The last ``live`` entries of each are in its feeds."""

    notice: str | None = None

    def __init__(self, logs: Logs, *, live: int = 0) -> None:
        self._logs = logs
        self._live = live
        self.pages = ReplayCache(stored.Logs(logs))  # type: ignore[arg-type]

    def attach(self, job: Job, after: int, **_: Any) -> Reader:
        """A reader of what is there."""
        feed = Feed(job.id, job.last_entry, ended=job.ended)
        if self._live:
            feed.jump(job.last_entry - self._live)
            feed.add(feed.base + 1, self._logs.entries[-self._live :])
        return Reader(self, self.pages, feed, after)  # type: ignore[arg-type]

    def leave(self, reader: Reader) -> None:
        """Nothing to forget."""


def entries_of(tokens: int) -> list[tuple[Kind, dict[str, Any]]]:
    """The log of a job with so many tokens, and some of everything else."""
    said = [(Kind.TOKEN, {"text": f"word {n} "}) for n in range(tokens)]
    thought = [(Kind.REASONING, {"text": f"thought {n} "}) for n in range(600)]
    call = {"index": 0, "call_id": "c", "name": "f"}
    called = [(Kind.TOOL_CALL, {**call, "arguments": piece}) for piece in ('{"a"', ":1", "}")]
    usage = {"input_tokens": 1, "output_tokens": tokens}
    ends: list[tuple[Kind, dict[str, Any]]] = [(Kind.USAGE, usage), (Kind.DONE, {"finish_reason": "stop"})]
    return [(Kind.STARTED, {"attempt": 1, "model": "demo"}), *thought, *said, *called, *said[:10], *ends]


def job_of(logs: Logs, job_id: str = JOB) -> Job:
    """A job with that log, which has ended if its log has."""
    status = Status.SUCCEEDED if is_terminal(logs.entries[-1]) else Status.RUNNING
    return Job(job_id, status, "alice", "demo", 0.0, 1.0, last_entry=logs.last)
