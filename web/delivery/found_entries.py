"""The entries of one answer to a long poll, of any log."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any

import orjson
from flask import request
from pydantic import Field

from spool.deadline import Deadline
from spool.jobs.job import Job
from spool.jobs.log import Gap, Row
from spool.switches.switch import Transport
from web.arguments import DIGITS, Query
from web.delivery.waiting import attached, collect
from web.limits.transports import refuse_off
from web.services import State

WAIT_AT_MOST_S = 55
BYTES_AT_MOST = 1024 * 1024
"""The bytes of the entries of one answer, unless the first is larger, as a line of a batch may be."""


class Waiting(Query):
    """How long to wait for entries."""

    wait_s: Annotated[int, Field(ge=0), DIGITS] = Field(
        25, alias="wait", description=f"Seconds to wait for the first entry; more than {WAIT_AT_MOST_S} count as that."
    )


class Found:
    """The entries of the answer, at most ``limit`` and ``BYTES_AT_MOST``. If it had to wait for the first, it also gets
    those of the linger time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._looks = 0
        self._room = BYTES_AT_MOST
        self._is_full = False
        self.rows: list[Row] = []
        self.gap: Gap | None = None
        self.ended = False
        self.is_up_to_date = False
        """With these entries the client has all that there were when they were read."""

    @property
    def may_grow(self) -> bool:
        """Whether the first entries had to be waited for, and there is room for more. A full answer takes nothing more:
        its reader is past entries that were left out, so a later end is not the answer's."""
        return self._looks > 1 and len(self.rows) > 0 and not self._is_full and not self.ended

    def following(self, after: int) -> int:
        """The cursor of the next request, of an answer to ``after``."""
        if self.rows:
            return self.rows[-1][0]
        return max(after, self.gap.before) if self.gap else after

    def body(self, after: int, tail: Mapping[str, Any]) -> bytes:
        """The answer to ``after``; ``tail`` are its further members. The stored bytes are in it unchanged, without
        decoding and encoding."""
        gap = self.gap.public() if self.gap else None
        rest = {"next": self.following(after), "ended": self.ended, **tail, "gap": gap}
        return b'{"entries":[' + b",".join([raw for _id, raw in self.rows]) + b"]," + orjson.dumps(rest)[1:]

    def add(self, rows: list[Row], gap: Gap | None, ended: bool) -> bool:
        """Add the first entries. Returns whether there is anything to answer."""
        self._looks += 1
        self.gap = gap
        self._extend(rows, ended)
        return bool(rows) or gap is not None or ended

    def add_more(self, rows: list[Row], gap: Gap | None, ended: bool) -> bool:
        """Add entries of the linger time. Returns whether nothing can follow in this answer."""
        if gap is not None:
            # The next request starts before the gap and reports it.
            return True
        self._extend(rows, ended)
        return not self.may_grow

    def add_all(self, rows: list[Row], gap: Gap | None, ended: bool) -> bool:
        """Add a page. Returns whether no other is to be added: there is none, or no room, or a gap before it."""
        if gap is not None and self.rows:
            # The next request starts before the gap and reports it.
            return True
        self.gap = gap
        self._extend(rows, ended)
        return not rows or self._is_full or self.ended

    def _extend(self, rows: list[Row], ended: bool) -> None:
        for row in rows:
            if self.rows and (len(self.rows) == self._limit or len(row[1]) > self._room):
                self._is_full = True
                return
            self.rows.append(row)
            self._room -= len(row[1])
        self._is_full = len(self.rows) == self._limit
        self.ended = ended


def refuse_to_wait(services: State, wait_s: int) -> None:
    """Raise ``TransportOff`` for a request that would wait, if long polling is off."""
    if wait_s > 0:
        refuse_off(services.switches, Transport.LONG_POLLING)


def poll(services: State, log: Job, after: int, found: Found, wait_s: int, linger_s: float = 0.0) -> None:
    """Add the entries of the log after ``after``; wait for the first one, and from then on a little for more. Raises
    ``TooManyStreams``, ``StoreUnavailable``."""
    # A request that does not wait needs no stream slot.
    place = services.slots.one(log.owner) if wait_s > 0 else nullcontext()
    with place, attached(services, log, after, follow=wait_s > 0) as reader:
        collect(reader, request.environ, Deadline.after(wait_s), found.add)
        if linger_s and found.may_grow:
            collect(reader, request.environ, Deadline.after(linger_s), found.add_more)
        found.is_up_to_date = found.following(after) >= reader.feed.last


def catch_up(services: State, log: Job, after: int, found: Found) -> None:
    """Add the entries of the log after ``after``, as far as there is room; wait for none.
    Raises ``StoreUnavailable``."""
    with attached(services, log, after, follow=False) as reader:
        collect(reader, request.environ, Deadline.never(), found.add_all)
        found.is_up_to_date = found.following(after) >= reader.feed.last
